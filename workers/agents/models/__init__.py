"""One module per model provider, each with `build(name, key, url, http)`; imported when the provider is first used.

The providers' SDKs take seconds to import, and most workers use one of them.
"""

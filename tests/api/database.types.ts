// Generated from the database by ./scripts/gen-models: do not edit.

export type Json = string | number | boolean | null | { [key: string]: Json | undefined } | Json[];

export type Database = {
  public: {
    Tables: {
      agent_conversations: {
        Row: {
          agent_name: string;
          agent_slug: string | null;
          agent_type: string;
          created_at: string;
          ended_at: string | null;
          id: string;
          last_active_at: string;
          last_message_at: string | null;
          metadata: NonNullable<Json>;
          organization_slug: string;
          primary_work_product_id: string | null;
          primary_work_product_type: string | null;
          started_at: string;
          status: string;
          title: string | null;
          updated_at: string;
          user_id: string;
        };
        ComputedFields: never;
        Insert: {
          agent_name: string;
          agent_slug?: string | null;
          agent_type: string;
          created_at?: string;
          ended_at?: string | null;
          id?: string;
          last_active_at?: string;
          last_message_at?: string | null;
          metadata?: NonNullable<Json>;
          organization_slug: string;
          primary_work_product_id?: string | null;
          primary_work_product_type?: string | null;
          started_at?: string;
          status?: string;
          title?: string | null;
          updated_at?: string;
          user_id?: string;
        };
        Update: {
          agent_name?: string;
          agent_slug?: string | null;
          agent_type?: string;
          created_at?: string;
          ended_at?: string | null;
          id?: string;
          last_active_at?: string;
          last_message_at?: string | null;
          metadata?: NonNullable<Json>;
          organization_slug?: string;
          primary_work_product_id?: string | null;
          primary_work_product_type?: string | null;
          started_at?: string;
          status?: string;
          title?: string | null;
          updated_at?: string;
          user_id?: string;
        };
        Relationships: [
          {
            foreignKeyName: "agent_conversations_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agent_containers";
            referencedColumns: ["agent_slug"];
          },
          {
            foreignKeyName: "agent_conversations_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "agent_conversations_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "agent_conversations_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "agent_conversations_user_id_fkey";
            columns: ["user_id"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      agent_instances: {
        Row: {
          adw_id: string | null;
          adw_step: string | null;
          agent_slug: string | null;
          archived: boolean;
          created_at: string;
          created_by: string | null;
          git_worktree: string | null;
          id: string;
          input_tokens: number;
          metadata: NonNullable<Json>;
          model: string;
          name: string;
          orchestrator_agent_id: string;
          output_tokens: number;
          session_id: string | null;
          status: string;
          system_prompt: string | null;
          total_cost: number;
          updated_at: string;
          working_dir: string | null;
        };
        ComputedFields: never;
        Insert: {
          adw_id?: string | null;
          adw_step?: string | null;
          agent_slug?: string | null;
          archived?: boolean;
          created_at?: string;
          created_by?: string | null;
          git_worktree?: string | null;
          id?: string;
          input_tokens?: number;
          metadata?: NonNullable<Json>;
          model: string;
          name: string;
          orchestrator_agent_id: string;
          output_tokens?: number;
          session_id?: string | null;
          status?: string;
          system_prompt?: string | null;
          total_cost?: number;
          updated_at?: string;
          working_dir?: string | null;
        };
        Update: {
          adw_id?: string | null;
          adw_step?: string | null;
          agent_slug?: string | null;
          archived?: boolean;
          created_at?: string;
          created_by?: string | null;
          git_worktree?: string | null;
          id?: string;
          input_tokens?: number;
          metadata?: NonNullable<Json>;
          model?: string;
          name?: string;
          orchestrator_agent_id?: string;
          output_tokens?: number;
          session_id?: string | null;
          status?: string;
          system_prompt?: string | null;
          total_cost?: number;
          updated_at?: string;
          working_dir?: string | null;
        };
        Relationships: [
          {
            foreignKeyName: "agent_instances_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agent_containers";
            referencedColumns: ["agent_slug"];
          },
          {
            foreignKeyName: "agent_instances_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "agent_instances_created_by_fkey";
            columns: ["created_by"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "agent_instances_orchestrator_agent_id_fkey";
            columns: ["orchestrator_agent_id"];
            isOneToOne: false;
            referencedRelation: "orchestrator_agents";
            referencedColumns: ["id"];
          },
        ];
      };
      agent_logs: {
        Row: {
          adw_id: string | null;
          adw_step: string | null;
          agent_id: string | null;
          content: string | null;
          entry_index: number | null;
          event_category: string;
          event_type: string;
          id: string;
          orchestrator_agent_id: string | null;
          payload: NonNullable<Json>;
          session_id: string | null;
          summary: string | null;
          task_id: string | null;
          task_slug: string | null;
          timestamp: string;
        };
        ComputedFields: never;
        Insert: {
          adw_id?: string | null;
          adw_step?: string | null;
          agent_id?: string | null;
          content?: string | null;
          entry_index?: number | null;
          event_category: string;
          event_type: string;
          id?: string;
          orchestrator_agent_id?: string | null;
          payload?: NonNullable<Json>;
          session_id?: string | null;
          summary?: string | null;
          task_id?: string | null;
          task_slug?: string | null;
          timestamp?: string;
        };
        Update: {
          adw_id?: string | null;
          adw_step?: string | null;
          agent_id?: string | null;
          content?: string | null;
          entry_index?: number | null;
          event_category?: string;
          event_type?: string;
          id?: string;
          orchestrator_agent_id?: string | null;
          payload?: NonNullable<Json>;
          session_id?: string | null;
          summary?: string | null;
          task_id?: string | null;
          task_slug?: string | null;
          timestamp?: string;
        };
        Relationships: [
          {
            foreignKeyName: "agent_logs_agent_id_fkey";
            columns: ["agent_id"];
            isOneToOne: false;
            referencedRelation: "agent_instances";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "agent_logs_orchestrator_agent_id_fkey";
            columns: ["orchestrator_agent_id"];
            isOneToOne: false;
            referencedRelation: "orchestrator_agents";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "agent_logs_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "active_tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "agent_logs_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "dead_letters";
            referencedColumns: ["task_id"];
          },
          {
            foreignKeyName: "agent_logs_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "tasks";
            referencedColumns: ["id"];
          },
        ];
      };
      agent_repositories: {
        Row: {
          agent_directory: string | null;
          branch: string;
          created_at: string;
          created_by: string | null;
          git_url: string;
          id: string;
          is_root: boolean;
          last_sync_at: string | null;
          last_sync_commit_hash: string | null;
          last_sync_errors: Json | null;
          last_sync_status: string;
          name: string;
          organization_slug: string;
          updated_at: string;
        };
        ComputedFields: never;
        Insert: {
          agent_directory?: string | null;
          branch?: string;
          created_at?: string;
          created_by?: string | null;
          git_url: string;
          id?: string;
          is_root?: boolean;
          last_sync_at?: string | null;
          last_sync_commit_hash?: string | null;
          last_sync_errors?: Json | null;
          last_sync_status?: string;
          name: string;
          organization_slug: string;
          updated_at?: string;
        };
        Update: {
          agent_directory?: string | null;
          branch?: string;
          created_at?: string;
          created_by?: string | null;
          git_url?: string;
          id?: string;
          is_root?: boolean;
          last_sync_at?: string | null;
          last_sync_commit_hash?: string | null;
          last_sync_errors?: Json | null;
          last_sync_status?: string;
          name?: string;
          organization_slug?: string;
          updated_at?: string;
        };
        Relationships: [
          {
            foreignKeyName: "agent_repositories_created_by_fkey";
            columns: ["created_by"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "agent_repositories_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "agent_repositories_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
        ];
      };
      agent_versions: {
        Row: {
          agent_slug: string;
          configuration: NonNullable<Json>;
          created_at: string;
          created_by: string | null;
          id: string;
          updated_at: string;
          version: string;
        };
        ComputedFields: never;
        Insert: {
          agent_slug: string;
          configuration: NonNullable<Json>;
          created_at?: string;
          created_by?: string | null;
          id?: string;
          updated_at?: string;
          version: string;
        };
        Update: {
          agent_slug?: string;
          configuration?: NonNullable<Json>;
          created_at?: string;
          created_by?: string | null;
          id?: string;
          updated_at?: string;
          version?: string;
        };
        Relationships: [
          {
            foreignKeyName: "agent_versions_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agent_containers";
            referencedColumns: ["agent_slug"];
          },
          {
            foreignKeyName: "agent_versions_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "agent_versions_created_by_fkey";
            columns: ["created_by"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      agents: {
        Row: {
          agent_type: string;
          build_type: string | null;
          capabilities: string[];
          container_id: string | null;
          context: string;
          created_at: string;
          department: string;
          deployed_at: string | null;
          description: string;
          endpoint: Json | null;
          framework: string | null;
          io_schema: NonNullable<Json>;
          llm_config: Json | null;
          max_concurrent_tasks: number | null;
          metadata: Json | null;
          name: string;
          organization_slug: string[];
          owner_type: string;
          owner_user_id: string | null;
          resource_limits: Json | null;
          slug: string;
          status: string;
          tags: string[] | null;
          updated_at: string;
          version: string;
        };
        ComputedFields: never;
        Insert: {
          agent_type: string;
          build_type?: string | null;
          capabilities: string[];
          container_id?: string | null;
          context: string;
          created_at?: string;
          department: string;
          deployed_at?: string | null;
          description: string;
          endpoint?: Json | null;
          framework?: string | null;
          io_schema: NonNullable<Json>;
          llm_config?: Json | null;
          max_concurrent_tasks?: number | null;
          metadata?: Json | null;
          name: string;
          organization_slug?: string[];
          owner_type?: never;
          owner_user_id?: string | null;
          resource_limits?: Json | null;
          slug: string;
          status?: string;
          tags?: string[] | null;
          updated_at?: string;
          version?: string;
        };
        Update: {
          agent_type?: string;
          build_type?: string | null;
          capabilities?: string[];
          container_id?: string | null;
          context?: string;
          created_at?: string;
          department?: string;
          deployed_at?: string | null;
          description?: string;
          endpoint?: Json | null;
          framework?: string | null;
          io_schema?: NonNullable<Json>;
          llm_config?: Json | null;
          max_concurrent_tasks?: number | null;
          metadata?: Json | null;
          name?: string;
          organization_slug?: string[];
          owner_type?: never;
          owner_user_id?: string | null;
          resource_limits?: Json | null;
          slug?: string;
          status?: string;
          tags?: string[] | null;
          updated_at?: string;
          version?: string;
        };
        Relationships: [
          {
            foreignKeyName: "agents_owner_user_id_fkey";
            columns: ["owner_user_id"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      audit_logs: {
        Row: {
          action: string;
          actor_role: string;
          actor_user_id: string | null;
          changes: NonNullable<Json>;
          created_at: string;
          id: number;
          organization_slug: string;
          row_key: string;
          table_name: string;
        };
        ComputedFields: never;
        Insert: {
          action: string;
          actor_role: string;
          actor_user_id?: string | null;
          changes?: NonNullable<Json>;
          created_at?: string;
          id?: never;
          organization_slug: string;
          row_key: string;
          table_name: string;
        };
        Update: {
          action?: string;
          actor_role?: string;
          actor_user_id?: string | null;
          changes?: NonNullable<Json>;
          created_at?: string;
          id?: never;
          organization_slug?: string;
          row_key?: string;
          table_name?: string;
        };
        Relationships: [];
      };
      container_resources: {
        Row: {
          agent_slug: string;
          cpu_limit: number;
          created_at: string;
          id: string;
          memory_limit_mb: number;
          network_isolation: string;
          subscription_tier: string;
          updated_at: string;
        };
        ComputedFields: never;
        Insert: {
          agent_slug: string;
          cpu_limit: number;
          created_at?: string;
          id?: string;
          memory_limit_mb: number;
          network_isolation: string;
          subscription_tier: string;
          updated_at?: string;
        };
        Update: {
          agent_slug?: string;
          cpu_limit?: number;
          created_at?: string;
          id?: string;
          memory_limit_mb?: number;
          network_isolation?: string;
          subscription_tier?: string;
          updated_at?: string;
        };
        Relationships: [
          {
            foreignKeyName: "container_resources_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: true;
            referencedRelation: "agent_containers";
            referencedColumns: ["agent_slug"];
          },
          {
            foreignKeyName: "container_resources_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: true;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
          },
        ];
      };
      conversation_participants: {
        Row: {
          agent_slug: string | null;
          conversation_id: string;
          created_at: string;
          id: string;
          joined_at: string;
          participant_type: string;
          updated_at: string;
          user_id: string | null;
        };
        ComputedFields: never;
        Insert: {
          agent_slug?: string | null;
          conversation_id: string;
          created_at?: string;
          id?: string;
          joined_at?: string;
          participant_type?: never;
          updated_at?: string;
          user_id?: string | null;
        };
        Update: {
          agent_slug?: string | null;
          conversation_id?: string;
          created_at?: string;
          id?: string;
          joined_at?: string;
          participant_type?: never;
          updated_at?: string;
          user_id?: string | null;
        };
        Relationships: [
          {
            foreignKeyName: "conversation_participants_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agent_containers";
            referencedColumns: ["agent_slug"];
          },
          {
            foreignKeyName: "conversation_participants_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "conversation_participants_conversation_id_fkey";
            columns: ["conversation_id"];
            isOneToOne: false;
            referencedRelation: "agent_conversations";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "conversation_participants_conversation_id_fkey";
            columns: ["conversation_id"];
            isOneToOne: false;
            referencedRelation: "recent_conversations";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "conversation_participants_user_id_fkey";
            columns: ["user_id"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      deliverable_versions: {
        Row: {
          content: string | null;
          created_at: string;
          created_by_type: string;
          deliverable_id: string;
          file_attachments: Json | null;
          format: string | null;
          id: string;
          is_current_version: boolean;
          metadata: NonNullable<Json>;
          task_id: string | null;
          updated_at: string;
          version_number: number;
        };
        ComputedFields: never;
        Insert: {
          content?: string | null;
          created_at?: string;
          created_by_type?: string;
          deliverable_id: string;
          file_attachments?: Json | null;
          format?: string | null;
          id?: string;
          is_current_version?: boolean;
          metadata?: NonNullable<Json>;
          task_id?: string | null;
          updated_at?: string;
          version_number: number;
        };
        Update: {
          content?: string | null;
          created_at?: string;
          created_by_type?: string;
          deliverable_id?: string;
          file_attachments?: Json | null;
          format?: string | null;
          id?: string;
          is_current_version?: boolean;
          metadata?: NonNullable<Json>;
          task_id?: string | null;
          updated_at?: string;
          version_number?: number;
        };
        Relationships: [
          {
            foreignKeyName: "deliverable_versions_deliverable_id_fkey";
            columns: ["deliverable_id"];
            isOneToOne: false;
            referencedRelation: "deliverables";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "deliverable_versions_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "active_tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "deliverable_versions_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "dead_letters";
            referencedColumns: ["task_id"];
          },
          {
            foreignKeyName: "deliverable_versions_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "tasks";
            referencedColumns: ["id"];
          },
        ];
      };
      deliverables: {
        Row: {
          agent_name: string | null;
          conversation_id: string | null;
          created_at: string;
          id: string;
          metadata: NonNullable<Json>;
          organization_slug: string;
          project_step_id: string | null;
          task_id: string | null;
          title: string;
          type: string;
          updated_at: string;
          user_id: string;
        };
        ComputedFields: never;
        Insert: {
          agent_name?: string | null;
          conversation_id?: string | null;
          created_at?: string;
          id?: string;
          metadata?: NonNullable<Json>;
          organization_slug: string;
          project_step_id?: string | null;
          task_id?: string | null;
          title: string;
          type: string;
          updated_at?: string;
          user_id: string;
        };
        Update: {
          agent_name?: string | null;
          conversation_id?: string | null;
          created_at?: string;
          id?: string;
          metadata?: NonNullable<Json>;
          organization_slug?: string;
          project_step_id?: string | null;
          task_id?: string | null;
          title?: string;
          type?: string;
          updated_at?: string;
          user_id?: string;
        };
        Relationships: [
          {
            foreignKeyName: "deliverables_conversation_id_fkey";
            columns: ["conversation_id"];
            isOneToOne: false;
            referencedRelation: "agent_conversations";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "deliverables_conversation_id_fkey";
            columns: ["conversation_id"];
            isOneToOne: false;
            referencedRelation: "recent_conversations";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "deliverables_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "deliverables_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "deliverables_project_step_id_fkey";
            columns: ["project_step_id"];
            isOneToOne: false;
            referencedRelation: "project_steps";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "deliverables_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "active_tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "deliverables_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "dead_letters";
            referencedColumns: ["task_id"];
          },
          {
            foreignKeyName: "deliverables_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "deliverables_user_id_fkey";
            columns: ["user_id"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      git_agents: {
        Row: {
          agent_repository_id: string;
          agent_slug: string | null;
          body: string;
          content_hash: string;
          created_at: string;
          description: string | null;
          file_path: string;
          frontmatter: NonNullable<Json>;
          id: string;
          is_active: boolean;
          last_modified_commit_hash: string | null;
          name: string;
          tags: string[];
          updated_at: string;
        };
        ComputedFields: never;
        Insert: {
          agent_repository_id: string;
          agent_slug?: string | null;
          body?: string;
          content_hash: string;
          created_at?: string;
          description?: string | null;
          file_path: string;
          frontmatter?: NonNullable<Json>;
          id?: string;
          is_active?: boolean;
          last_modified_commit_hash?: string | null;
          name: string;
          tags?: string[];
          updated_at?: string;
        };
        Update: {
          agent_repository_id?: string;
          agent_slug?: string | null;
          body?: string;
          content_hash?: string;
          created_at?: string;
          description?: string | null;
          file_path?: string;
          frontmatter?: NonNullable<Json>;
          id?: string;
          is_active?: boolean;
          last_modified_commit_hash?: string | null;
          name?: string;
          tags?: string[];
          updated_at?: string;
        };
        Relationships: [
          {
            foreignKeyName: "git_agents_agent_repository_id_fkey";
            columns: ["agent_repository_id"];
            isOneToOne: false;
            referencedRelation: "agent_repositories";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "git_agents_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: true;
            referencedRelation: "agent_containers";
            referencedColumns: ["agent_slug"];
          },
          {
            foreignKeyName: "git_agents_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: true;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
          },
        ];
      };
      git_credentials: {
        Row: {
          created_at: string;
          encrypted_token: string;
          expires_at: string | null;
          id: string;
          last_used_at: string | null;
          provider: string | null;
          repository_id: string;
          token_name: string | null;
          updated_at: string;
          username: string | null;
        };
        ComputedFields: never;
        Insert: {
          created_at?: string;
          encrypted_token: string;
          expires_at?: string | null;
          id?: string;
          last_used_at?: string | null;
          provider?: string | null;
          repository_id: string;
          token_name?: string | null;
          updated_at?: string;
          username?: string | null;
        };
        Update: {
          created_at?: string;
          encrypted_token?: string;
          expires_at?: string | null;
          id?: string;
          last_used_at?: string | null;
          provider?: string | null;
          repository_id?: string;
          token_name?: string | null;
          updated_at?: string;
          username?: string | null;
        };
        Relationships: [
          {
            foreignKeyName: "git_credentials_repository_id_fkey";
            columns: ["repository_id"];
            isOneToOne: true;
            referencedRelation: "agent_repositories";
            referencedColumns: ["id"];
          },
        ];
      };
      input_requests: {
        Row: {
          created_at: string;
          execution_id: string | null;
          expires_at: string | null;
          id: string;
          metadata: NonNullable<Json>;
          on_expiry: string;
          organization_slug: string;
          project_step_id: string | null;
          prompt: string;
          request_type: string;
          requested_at: string;
          required_role: string;
          responded_at: string | null;
          responded_by: string | null;
          response: Json | null;
          run_id: string | null;
          schema: NonNullable<Json>;
          status: string;
          step_id: string | null;
          task_id: string | null;
          updated_at: string;
        };
        ComputedFields: never;
        Insert: {
          created_at?: string;
          execution_id?: string | null;
          expires_at?: string | null;
          id?: string;
          metadata?: NonNullable<Json>;
          on_expiry?: string;
          organization_slug: string;
          project_step_id?: string | null;
          prompt: string;
          request_type?: string;
          requested_at?: string;
          required_role?: string;
          responded_at?: string | null;
          responded_by?: string | null;
          response?: Json | null;
          run_id?: string | null;
          schema?: NonNullable<Json>;
          status?: string;
          step_id?: string | null;
          task_id?: string | null;
          updated_at?: string;
        };
        Update: {
          created_at?: string;
          execution_id?: string | null;
          expires_at?: string | null;
          id?: string;
          metadata?: NonNullable<Json>;
          on_expiry?: string;
          organization_slug?: string;
          project_step_id?: string | null;
          prompt?: string;
          request_type?: string;
          requested_at?: string;
          required_role?: string;
          responded_at?: string | null;
          responded_by?: string | null;
          response?: Json | null;
          run_id?: string | null;
          schema?: NonNullable<Json>;
          status?: string;
          step_id?: string | null;
          task_id?: string | null;
          updated_at?: string;
        };
        Relationships: [
          {
            foreignKeyName: "input_requests_execution_id_fkey";
            columns: ["execution_id"];
            isOneToOne: false;
            referencedRelation: "workflow_executions";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "input_requests_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "input_requests_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "input_requests_project_step_id_fkey";
            columns: ["project_step_id"];
            isOneToOne: false;
            referencedRelation: "project_steps";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "input_requests_responded_by_fkey";
            columns: ["responded_by"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "input_requests_run_id_fkey";
            columns: ["run_id"];
            isOneToOne: false;
            referencedRelation: "performance_logs";
            referencedColumns: ["run_id"];
          },
          {
            foreignKeyName: "input_requests_run_id_fkey";
            columns: ["run_id"];
            isOneToOne: false;
            referencedRelation: "runs";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "input_requests_step_id_fkey";
            columns: ["step_id"];
            isOneToOne: false;
            referencedRelation: "run_steps";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "input_requests_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "active_tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "input_requests_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "dead_letters";
            referencedColumns: ["task_id"];
          },
          {
            foreignKeyName: "input_requests_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "tasks";
            referencedColumns: ["id"];
          },
        ];
      };
      marketplace_integrations: {
        Row: {
          action: string | null;
          agent_slug: string;
          agent_version: string | null;
          created_at: string;
          error_code: string | null;
          error_message: string | null;
          id: string;
          listing_hash: string | null;
          look_at: string | null;
          marketplace_agent_id: string | null;
          marketplace_id: string;
          marketplace_name: string;
          organization_slug: string | null;
          published_at: string | null;
          requested_at: string;
          requested_by: string | null;
          revision: number;
          status: string;
          task_id: string | null;
          unpublished_at: string | null;
          updated_at: string;
          usage_error: string | null;
          usage_fetched_at: string | null;
          usage_metrics: NonNullable<Json>;
        };
        ComputedFields: never;
        Insert: {
          action?: string | null;
          agent_slug: string;
          agent_version?: string | null;
          created_at?: string;
          error_code?: string | null;
          error_message?: string | null;
          id?: string;
          listing_hash?: string | null;
          look_at?: string | null;
          marketplace_agent_id?: string | null;
          marketplace_id: string;
          marketplace_name?: string;
          organization_slug?: string | null;
          published_at?: string | null;
          requested_at?: string;
          requested_by?: string | null;
          revision?: number;
          status?: string;
          task_id?: string | null;
          unpublished_at?: string | null;
          updated_at?: string;
          usage_error?: string | null;
          usage_fetched_at?: string | null;
          usage_metrics?: NonNullable<Json>;
        };
        Update: {
          action?: string | null;
          agent_slug?: string;
          agent_version?: string | null;
          created_at?: string;
          error_code?: string | null;
          error_message?: string | null;
          id?: string;
          listing_hash?: string | null;
          look_at?: string | null;
          marketplace_agent_id?: string | null;
          marketplace_id?: string;
          marketplace_name?: string;
          organization_slug?: string | null;
          published_at?: string | null;
          requested_at?: string;
          requested_by?: string | null;
          revision?: number;
          status?: string;
          task_id?: string | null;
          unpublished_at?: string | null;
          updated_at?: string;
          usage_error?: string | null;
          usage_fetched_at?: string | null;
          usage_metrics?: NonNullable<Json>;
        };
        Relationships: [
          {
            foreignKeyName: "marketplace_integrations_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agent_containers";
            referencedColumns: ["agent_slug"];
          },
          {
            foreignKeyName: "marketplace_integrations_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "marketplace_integrations_marketplace_id_fkey";
            columns: ["marketplace_id"];
            isOneToOne: false;
            referencedRelation: "marketplaces";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "marketplace_integrations_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "marketplace_integrations_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "marketplace_integrations_requested_by_fkey";
            columns: ["requested_by"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "marketplace_integrations_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: true;
            referencedRelation: "active_tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "marketplace_integrations_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: true;
            referencedRelation: "dead_letters";
            referencedColumns: ["task_id"];
          },
          {
            foreignKeyName: "marketplace_integrations_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: true;
            referencedRelation: "tasks";
            referencedColumns: ["id"];
          },
        ];
      };
      marketplaces: {
        Row: {
          base_url: string;
          created_at: string;
          fields: NonNullable<Json>;
          headers: NonNullable<Json>;
          id: string;
          name: string;
          operations: NonNullable<Json>;
          organization_slug: string | null;
          updated_at: string;
        };
        ComputedFields: never;
        Insert: {
          base_url: string;
          created_at?: string;
          fields?: NonNullable<Json>;
          headers?: NonNullable<Json>;
          id?: string;
          name: string;
          operations?: NonNullable<Json>;
          organization_slug?: string | null;
          updated_at?: string;
        };
        Update: {
          base_url?: string;
          created_at?: string;
          fields?: NonNullable<Json>;
          headers?: NonNullable<Json>;
          id?: string;
          name?: string;
          operations?: NonNullable<Json>;
          organization_slug?: string | null;
          updated_at?: string;
        };
        Relationships: [
          {
            foreignKeyName: "marketplaces_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "marketplaces_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
        ];
      };
      messages: {
        Row: {
          agent_instance_id: string | null;
          content: string;
          conversation_id: string;
          created_at: string;
          id: string;
          metadata: NonNullable<Json>;
          receiver_type: string;
          sender_agent_slug: string | null;
          sender_type: string;
          sender_user_id: string | null;
          summary: string | null;
          task_id: string | null;
          updated_at: string;
        };
        ComputedFields: never;
        Insert: {
          agent_instance_id?: string | null;
          content: string;
          conversation_id: string;
          created_at?: string;
          id?: string;
          metadata?: NonNullable<Json>;
          receiver_type?: string;
          sender_agent_slug?: string | null;
          sender_type?: string;
          sender_user_id?: string | null;
          summary?: string | null;
          task_id?: string | null;
          updated_at?: string;
        };
        Update: {
          agent_instance_id?: string | null;
          content?: string;
          conversation_id?: string;
          created_at?: string;
          id?: string;
          metadata?: NonNullable<Json>;
          receiver_type?: string;
          sender_agent_slug?: string | null;
          sender_type?: string;
          sender_user_id?: string | null;
          summary?: string | null;
          task_id?: string | null;
          updated_at?: string;
        };
        Relationships: [
          {
            foreignKeyName: "messages_agent_instance_id_fkey";
            columns: ["agent_instance_id"];
            isOneToOne: false;
            referencedRelation: "agent_instances";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "messages_conversation_id_fkey";
            columns: ["conversation_id"];
            isOneToOne: false;
            referencedRelation: "agent_conversations";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "messages_conversation_id_fkey";
            columns: ["conversation_id"];
            isOneToOne: false;
            referencedRelation: "recent_conversations";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "messages_sender_agent_slug_fkey";
            columns: ["sender_agent_slug"];
            isOneToOne: false;
            referencedRelation: "agent_containers";
            referencedColumns: ["agent_slug"];
          },
          {
            foreignKeyName: "messages_sender_agent_slug_fkey";
            columns: ["sender_agent_slug"];
            isOneToOne: false;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "messages_sender_user_id_fkey";
            columns: ["sender_user_id"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "messages_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "active_tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "messages_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "dead_letters";
            referencedColumns: ["task_id"];
          },
          {
            foreignKeyName: "messages_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "tasks";
            referencedColumns: ["id"];
          },
        ];
      };
      orchestrator_agents: {
        Row: {
          agent_slug: string | null;
          archived: boolean;
          created_at: string;
          id: string;
          input_tokens: number;
          metadata: NonNullable<Json>;
          organization_slug: string;
          output_tokens: number;
          session_id: string | null;
          settings: NonNullable<Json>;
          status: string;
          system_prompt: string | null;
          total_cost: number;
          updated_at: string;
          working_dir: string | null;
        };
        ComputedFields: never;
        Insert: {
          agent_slug?: string | null;
          archived?: boolean;
          created_at?: string;
          id?: string;
          input_tokens?: number;
          metadata?: NonNullable<Json>;
          organization_slug: string;
          output_tokens?: number;
          session_id?: string | null;
          settings?: NonNullable<Json>;
          status?: string;
          system_prompt?: string | null;
          total_cost?: number;
          updated_at?: string;
          working_dir?: string | null;
        };
        Update: {
          agent_slug?: string | null;
          archived?: boolean;
          created_at?: string;
          id?: string;
          input_tokens?: number;
          metadata?: NonNullable<Json>;
          organization_slug?: string;
          output_tokens?: number;
          session_id?: string | null;
          settings?: NonNullable<Json>;
          status?: string;
          system_prompt?: string | null;
          total_cost?: number;
          updated_at?: string;
          working_dir?: string | null;
        };
        Relationships: [
          {
            foreignKeyName: "orchestrator_agents_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agent_containers";
            referencedColumns: ["agent_slug"];
          },
          {
            foreignKeyName: "orchestrator_agents_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "orchestrator_agents_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "orchestrator_agents_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
        ];
      };
      organization_invitations: {
        Row: {
          accepted_at: string | null;
          accepted_by: string | null;
          created_at: string;
          email: string;
          expires_at: string;
          id: string;
          invited_by: string | null;
          organization_slug: string;
          role: string;
          token_hash: string;
          updated_at: string;
        };
        ComputedFields: never;
        Insert: {
          accepted_at?: string | null;
          accepted_by?: string | null;
          created_at?: string;
          email: string;
          expires_at: string;
          id?: string;
          invited_by?: string | null;
          organization_slug: string;
          role?: string;
          token_hash: string;
          updated_at?: string;
        };
        Update: {
          accepted_at?: string | null;
          accepted_by?: string | null;
          created_at?: string;
          email?: string;
          expires_at?: string;
          id?: string;
          invited_by?: string | null;
          organization_slug?: string;
          role?: string;
          token_hash?: string;
          updated_at?: string;
        };
        Relationships: [
          {
            foreignKeyName: "organization_invitations_accepted_by_fkey";
            columns: ["accepted_by"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "organization_invitations_invited_by_fkey";
            columns: ["invited_by"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "organization_invitations_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "organization_invitations_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
        ];
      };
      organization_members: {
        Row: {
          created_at: string;
          joined_at: string;
          organization_slug: string;
          permissions: NonNullable<Json>;
          role: string;
          updated_at: string;
          user_id: string;
        };
        ComputedFields: never;
        Insert: {
          created_at?: string;
          joined_at?: string;
          organization_slug: string;
          permissions?: NonNullable<Json>;
          role?: string;
          updated_at?: string;
          user_id: string;
        };
        Update: {
          created_at?: string;
          joined_at?: string;
          organization_slug?: string;
          permissions?: NonNullable<Json>;
          role?: string;
          updated_at?: string;
          user_id?: string;
        };
        Relationships: [
          {
            foreignKeyName: "organization_members_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "organization_members_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "organization_members_user_id_fkey";
            columns: ["user_id"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      organization_secrets: {
        Row: {
          ciphertext: string | null;
          created_at: string;
          created_by: string | null;
          description: string | null;
          id: string;
          last_used_at: string | null;
          name: string;
          organization_slug: string;
          rotated_at: string;
          updated_at: string;
          vault_id: string | null;
          version: number;
        };
        ComputedFields: never;
        Insert: {
          ciphertext?: string | null;
          created_at?: string;
          created_by?: string | null;
          description?: string | null;
          id?: string;
          last_used_at?: string | null;
          name: string;
          organization_slug: string;
          rotated_at?: string;
          updated_at?: string;
          vault_id?: string | null;
          version?: number;
        };
        Update: {
          ciphertext?: string | null;
          created_at?: string;
          created_by?: string | null;
          description?: string | null;
          id?: string;
          last_used_at?: string | null;
          name?: string;
          organization_slug?: string;
          rotated_at?: string;
          updated_at?: string;
          vault_id?: string | null;
          version?: number;
        };
        Relationships: [
          {
            foreignKeyName: "organization_secrets_created_by_fkey";
            columns: ["created_by"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "organization_secrets_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "organization_secrets_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
        ];
      };
      organizations: {
        Row: {
          created_at: string;
          created_by: string | null;
          description: string | null;
          id: string;
          is_active: boolean;
          max_running_tasks: number | null;
          name: string;
          settings: NonNullable<Json>;
          slug: string;
          subscription_info: NonNullable<Json>;
          subscription_tier: string;
          updated_at: string;
          url: string | null;
        };
        ComputedFields: never;
        Insert: {
          created_at?: string;
          created_by?: string | null;
          description?: string | null;
          id?: string;
          is_active?: boolean;
          max_running_tasks?: number | null;
          name: string;
          settings?: NonNullable<Json>;
          slug: string;
          subscription_info?: NonNullable<Json>;
          subscription_tier?: string;
          updated_at?: string;
          url?: string | null;
        };
        Update: {
          created_at?: string;
          created_by?: string | null;
          description?: string | null;
          id?: string;
          is_active?: boolean;
          max_running_tasks?: number | null;
          name?: string;
          settings?: NonNullable<Json>;
          slug?: string;
          subscription_info?: NonNullable<Json>;
          subscription_tier?: string;
          updated_at?: string;
          url?: string | null;
        };
        Relationships: [
          {
            foreignKeyName: "organizations_created_by_fkey";
            columns: ["created_by"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      project_plan_versions: {
        Row: {
          created_at: string;
          plan_json: NonNullable<Json>;
          project_id: string;
          version: number;
        };
        ComputedFields: never;
        Insert: {
          created_at?: string;
          plan_json: NonNullable<Json>;
          project_id: string;
          version: number;
        };
        Update: {
          created_at?: string;
          plan_json?: NonNullable<Json>;
          project_id?: string;
          version?: number;
        };
        Relationships: [
          {
            foreignKeyName: "project_plan_versions_project_id_fkey";
            columns: ["project_id"];
            isOneToOne: false;
            referencedRelation: "project_progress";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "project_plan_versions_project_id_fkey";
            columns: ["project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["id"];
          },
        ];
      };
      project_steps: {
        Row: {
          agent_name: string | null;
          agent_slug: string | null;
          completed_at: string | null;
          condition: string | null;
          created_at: string;
          dependencies: string[];
          error_details: Json | null;
          id: string;
          metadata: NonNullable<Json>;
          on_failure: string;
          params: NonNullable<Json>;
          project_id: string;
          prompt: string | null;
          result: Json | null;
          settings: NonNullable<Json>;
          started_at: string | null;
          status: string;
          step_id: string;
          step_index: number;
          step_name: string;
          step_type: string;
          task_id: string | null;
          updated_at: string;
        };
        ComputedFields: never;
        Insert: {
          agent_name?: string | null;
          agent_slug?: string | null;
          completed_at?: string | null;
          condition?: string | null;
          created_at?: string;
          dependencies?: string[];
          error_details?: Json | null;
          id?: string;
          metadata?: NonNullable<Json>;
          on_failure?: string;
          params?: NonNullable<Json>;
          project_id: string;
          prompt?: string | null;
          result?: Json | null;
          settings?: NonNullable<Json>;
          started_at?: string | null;
          status?: string;
          step_id: string;
          step_index: number;
          step_name: string;
          step_type: string;
          task_id?: string | null;
          updated_at?: string;
        };
        Update: {
          agent_name?: string | null;
          agent_slug?: string | null;
          completed_at?: string | null;
          condition?: string | null;
          created_at?: string;
          dependencies?: string[];
          error_details?: Json | null;
          id?: string;
          metadata?: NonNullable<Json>;
          on_failure?: string;
          params?: NonNullable<Json>;
          project_id?: string;
          prompt?: string | null;
          result?: Json | null;
          settings?: NonNullable<Json>;
          started_at?: string | null;
          status?: string;
          step_id?: string;
          step_index?: number;
          step_name?: string;
          step_type?: string;
          task_id?: string | null;
          updated_at?: string;
        };
        Relationships: [
          {
            foreignKeyName: "project_steps_project_id_fkey";
            columns: ["project_id"];
            isOneToOne: false;
            referencedRelation: "project_progress";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "project_steps_project_id_fkey";
            columns: ["project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["id"];
          },
        ];
      };
      projects: {
        Row: {
          completed_at: string | null;
          completed_steps: number;
          conversation_id: string;
          created_at: string;
          current_step_id: string | null;
          description: string | null;
          error_details: Json | null;
          execution_id: string | null;
          failed_steps: number;
          finished_steps: number;
          hierarchy_level: number;
          id: string;
          metadata: NonNullable<Json>;
          name: string | null;
          organization_slug: string;
          parent_project_id: string | null;
          plan_json: Json | null;
          plan_version: number;
          planning_task_id: string | null;
          progress: number;
          project_step_id: string | null;
          started_at: string | null;
          status: string;
          subproject_count: number;
          total_steps: number;
          updated_at: string;
          user_id: string;
        };
        ComputedFields: never;
        Insert: {
          completed_at?: string | null;
          completed_steps?: number;
          conversation_id: string;
          created_at?: string;
          current_step_id?: string | null;
          description?: string | null;
          error_details?: Json | null;
          execution_id?: string | null;
          failed_steps?: number;
          finished_steps?: number;
          hierarchy_level?: number;
          id?: string;
          metadata?: NonNullable<Json>;
          name?: string | null;
          organization_slug: string;
          parent_project_id?: string | null;
          plan_json?: Json | null;
          plan_version?: number;
          planning_task_id?: string | null;
          progress?: never;
          project_step_id?: string | null;
          started_at?: string | null;
          status?: string;
          subproject_count?: number;
          total_steps?: number;
          updated_at?: string;
          user_id?: string;
        };
        Update: {
          completed_at?: string | null;
          completed_steps?: number;
          conversation_id?: string;
          created_at?: string;
          current_step_id?: string | null;
          description?: string | null;
          error_details?: Json | null;
          execution_id?: string | null;
          failed_steps?: number;
          finished_steps?: number;
          hierarchy_level?: number;
          id?: string;
          metadata?: NonNullable<Json>;
          name?: string | null;
          organization_slug?: string;
          parent_project_id?: string | null;
          plan_json?: Json | null;
          plan_version?: number;
          planning_task_id?: string | null;
          progress?: never;
          project_step_id?: string | null;
          started_at?: string | null;
          status?: string;
          subproject_count?: number;
          total_steps?: number;
          updated_at?: string;
          user_id?: string;
        };
        Relationships: [
          {
            foreignKeyName: "projects_conversation_id_fkey";
            columns: ["conversation_id"];
            isOneToOne: false;
            referencedRelation: "agent_conversations";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "projects_conversation_id_fkey";
            columns: ["conversation_id"];
            isOneToOne: false;
            referencedRelation: "recent_conversations";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "projects_execution_id_fkey";
            columns: ["execution_id"];
            isOneToOne: false;
            referencedRelation: "workflow_executions";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "projects_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "projects_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "projects_parent_project_id_fkey";
            columns: ["parent_project_id"];
            isOneToOne: false;
            referencedRelation: "project_progress";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "projects_parent_project_id_fkey";
            columns: ["parent_project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "projects_user_id_fkey";
            columns: ["user_id"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      prompts: {
        Row: {
          agent_id: string | null;
          author: string;
          id: string;
          orchestrator_agent_id: string;
          prompt_text: string;
          session_id: string | null;
          summary: string | null;
          task_id: string | null;
          task_slug: string | null;
          timestamp: string;
        };
        ComputedFields: never;
        Insert: {
          agent_id?: string | null;
          author: string;
          id?: string;
          orchestrator_agent_id: string;
          prompt_text: string;
          session_id?: string | null;
          summary?: string | null;
          task_id?: string | null;
          task_slug?: string | null;
          timestamp?: string;
        };
        Update: {
          agent_id?: string | null;
          author?: string;
          id?: string;
          orchestrator_agent_id?: string;
          prompt_text?: string;
          session_id?: string | null;
          summary?: string | null;
          task_id?: string | null;
          task_slug?: string | null;
          timestamp?: string;
        };
        Relationships: [
          {
            foreignKeyName: "prompts_agent_id_fkey";
            columns: ["agent_id"];
            isOneToOne: false;
            referencedRelation: "agent_instances";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "prompts_orchestrator_agent_id_fkey";
            columns: ["orchestrator_agent_id"];
            isOneToOne: false;
            referencedRelation: "orchestrator_agents";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "prompts_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "active_tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "prompts_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "dead_letters";
            referencedColumns: ["task_id"];
          },
          {
            foreignKeyName: "prompts_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "tasks";
            referencedColumns: ["id"];
          },
        ];
      };
      queue_pauses: {
        Row: {
          created_at: string;
          id: string;
          method: string | null;
          organization_slug: string | null;
          paused_by: string | null;
          reason: string | null;
        };
        ComputedFields: never;
        Insert: {
          created_at?: string;
          id?: string;
          method?: string | null;
          organization_slug?: string | null;
          paused_by?: string | null;
          reason?: string | null;
        };
        Update: {
          created_at?: string;
          id?: string;
          method?: string | null;
          organization_slug?: string | null;
          paused_by?: string | null;
          reason?: string | null;
        };
        Relationships: [
          {
            foreignKeyName: "queue_pauses_method_fkey";
            columns: ["method"];
            isOneToOne: false;
            referencedRelation: "task_methods";
            referencedColumns: ["name"];
          },
          {
            foreignKeyName: "queue_pauses_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "queue_pauses_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "queue_pauses_paused_by_fkey";
            columns: ["paused_by"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      run_steps: {
        Row: {
          completed_at: string | null;
          cost: number | null;
          created_at: string;
          error_message: string | null;
          id: string;
          input: Json | null;
          input_payload: string | null;
          input_tokens: number | null;
          is_cut: boolean | null;
          metadata: NonNullable<Json>;
          name: string | null;
          output: Json | null;
          output_payload: string | null;
          output_tokens: number | null;
          run_id: string;
          sequence_number: number;
          started_at: string;
          status: string;
          type: string;
          updated_at: string;
        };
        ComputedFields: never;
        Insert: {
          completed_at?: string | null;
          cost?: number | null;
          created_at?: string;
          error_message?: string | null;
          id?: string;
          input?: Json | null;
          input_payload?: string | null;
          input_tokens?: number | null;
          is_cut?: never;
          metadata?: NonNullable<Json>;
          name?: string | null;
          output?: Json | null;
          output_payload?: string | null;
          output_tokens?: number | null;
          run_id: string;
          sequence_number: number;
          started_at?: string;
          status?: string;
          type: string;
          updated_at?: string;
        };
        Update: {
          completed_at?: string | null;
          cost?: number | null;
          created_at?: string;
          error_message?: string | null;
          id?: string;
          input?: Json | null;
          input_payload?: string | null;
          input_tokens?: number | null;
          is_cut?: never;
          metadata?: NonNullable<Json>;
          name?: string | null;
          output?: Json | null;
          output_payload?: string | null;
          output_tokens?: number | null;
          run_id?: string;
          sequence_number?: number;
          started_at?: string;
          status?: string;
          type?: string;
          updated_at?: string;
        };
        Relationships: [
          {
            foreignKeyName: "run_steps_run_id_fkey";
            columns: ["run_id"];
            isOneToOne: false;
            referencedRelation: "performance_logs";
            referencedColumns: ["run_id"];
          },
          {
            foreignKeyName: "run_steps_run_id_fkey";
            columns: ["run_id"];
            isOneToOne: false;
            referencedRelation: "runs";
            referencedColumns: ["id"];
          },
        ];
      };
      runs: {
        Row: {
          agent_name: string | null;
          agent_slug: string | null;
          attempt: number;
          call_stack: string[];
          completed_at: string | null;
          created_at: string;
          created_by: string;
          error_code: string | null;
          error_message: string | null;
          execution_id: string | null;
          id: string;
          initial_prompt: string | null;
          metadata: NonNullable<Json>;
          organization_slug: string;
          parent_run_id: string | null;
          session_id: string | null;
          status: string;
          task_id: string | null;
          total_cost: number;
          total_tokens: number;
          updated_at: string;
          worker_id: string | null;
        };
        ComputedFields: never;
        Insert: {
          agent_name?: string | null;
          agent_slug?: string | null;
          attempt?: number;
          call_stack?: string[];
          completed_at?: string | null;
          created_at?: string;
          created_by: string;
          error_code?: string | null;
          error_message?: string | null;
          execution_id?: string | null;
          id?: string;
          initial_prompt?: string | null;
          metadata?: NonNullable<Json>;
          organization_slug: string;
          parent_run_id?: string | null;
          session_id?: string | null;
          status?: string;
          task_id?: string | null;
          total_cost?: number;
          total_tokens?: number;
          updated_at?: string;
          worker_id?: string | null;
        };
        Update: {
          agent_name?: string | null;
          agent_slug?: string | null;
          attempt?: number;
          call_stack?: string[];
          completed_at?: string | null;
          created_at?: string;
          created_by?: string;
          error_code?: string | null;
          error_message?: string | null;
          execution_id?: string | null;
          id?: string;
          initial_prompt?: string | null;
          metadata?: NonNullable<Json>;
          organization_slug?: string;
          parent_run_id?: string | null;
          session_id?: string | null;
          status?: string;
          task_id?: string | null;
          total_cost?: number;
          total_tokens?: number;
          updated_at?: string;
          worker_id?: string | null;
        };
        Relationships: [
          {
            foreignKeyName: "runs_execution_id_fkey";
            columns: ["execution_id"];
            isOneToOne: false;
            referencedRelation: "workflow_executions";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "runs_parent_run_id_fkey";
            columns: ["parent_run_id"];
            isOneToOne: false;
            referencedRelation: "performance_logs";
            referencedColumns: ["run_id"];
          },
          {
            foreignKeyName: "runs_parent_run_id_fkey";
            columns: ["parent_run_id"];
            isOneToOne: false;
            referencedRelation: "runs";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "runs_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "active_tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "runs_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "dead_letters";
            referencedColumns: ["task_id"];
          },
          {
            foreignKeyName: "runs_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "tasks";
            referencedColumns: ["id"];
          },
        ];
      };
      schedules: {
        Row: {
          agent_slug: string | null;
          catch_up_policy: string;
          created_at: string;
          cron: string;
          enabled: boolean;
          held_until: string | null;
          id: string;
          last_error: string | null;
          last_error_at: string | null;
          last_run_at: string | null;
          last_task_id: string | null;
          method: string;
          name: string;
          next_run_at: string | null;
          organization_slug: string;
          overlap_policy: string;
          params: NonNullable<Json>;
          prompt: string;
          time_zone: string;
          updated_at: string;
          user_id: string;
        };
        ComputedFields: never;
        Insert: {
          agent_slug?: string | null;
          catch_up_policy?: string;
          created_at?: string;
          cron: string;
          enabled?: boolean;
          held_until?: string | null;
          id?: string;
          last_error?: string | null;
          last_error_at?: string | null;
          last_run_at?: string | null;
          last_task_id?: string | null;
          method: string;
          name: string;
          next_run_at?: string | null;
          organization_slug: string;
          overlap_policy?: string;
          params?: NonNullable<Json>;
          prompt: string;
          time_zone?: string;
          updated_at?: string;
          user_id?: string;
        };
        Update: {
          agent_slug?: string | null;
          catch_up_policy?: string;
          created_at?: string;
          cron?: string;
          enabled?: boolean;
          held_until?: string | null;
          id?: string;
          last_error?: string | null;
          last_error_at?: string | null;
          last_run_at?: string | null;
          last_task_id?: string | null;
          method?: string;
          name?: string;
          next_run_at?: string | null;
          organization_slug?: string;
          overlap_policy?: string;
          params?: NonNullable<Json>;
          prompt?: string;
          time_zone?: string;
          updated_at?: string;
          user_id?: string;
        };
        Relationships: [
          {
            foreignKeyName: "schedules_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agent_containers";
            referencedColumns: ["agent_slug"];
          },
          {
            foreignKeyName: "schedules_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "schedules_last_task_id_fkey";
            columns: ["last_task_id"];
            isOneToOne: false;
            referencedRelation: "active_tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "schedules_last_task_id_fkey";
            columns: ["last_task_id"];
            isOneToOne: false;
            referencedRelation: "dead_letters";
            referencedColumns: ["task_id"];
          },
          {
            foreignKeyName: "schedules_last_task_id_fkey";
            columns: ["last_task_id"];
            isOneToOne: false;
            referencedRelation: "tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "schedules_method_fkey";
            columns: ["method"];
            isOneToOne: false;
            referencedRelation: "task_methods";
            referencedColumns: ["name"];
          },
          {
            foreignKeyName: "schedules_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "schedules_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "schedules_user_id_fkey";
            columns: ["user_id"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      system_logs: {
        Row: {
          adw_id: string | null;
          adw_step: string | null;
          agent_id: string | null;
          file_path: string | null;
          id: string;
          level: string;
          message: string;
          metadata: NonNullable<Json>;
          organization_slug: string | null;
          summary: string | null;
          timestamp: string;
        };
        ComputedFields: never;
        Insert: {
          adw_id?: string | null;
          adw_step?: string | null;
          agent_id?: string | null;
          file_path?: string | null;
          id?: string;
          level: string;
          message: string;
          metadata?: NonNullable<Json>;
          organization_slug?: string | null;
          summary?: string | null;
          timestamp?: string;
        };
        Update: {
          adw_id?: string | null;
          adw_step?: string | null;
          agent_id?: string | null;
          file_path?: string | null;
          id?: string;
          level?: string;
          message?: string;
          metadata?: NonNullable<Json>;
          organization_slug?: string | null;
          summary?: string | null;
          timestamp?: string;
        };
        Relationships: [
          {
            foreignKeyName: "system_logs_agent_id_fkey";
            columns: ["agent_id"];
            isOneToOne: false;
            referencedRelation: "agent_instances";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "system_logs_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "system_logs_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
        ];
      };
      task_assignments: {
        Row: {
          assigned_by: string | null;
          created_at: string;
          id: string;
          note: string | null;
          task_id: string;
          updated_at: string;
          user_id: string;
        };
        ComputedFields: never;
        Insert: {
          assigned_by?: string | null;
          created_at?: string;
          id?: string;
          note?: string | null;
          task_id: string;
          updated_at?: string;
          user_id: string;
        };
        Update: {
          assigned_by?: string | null;
          created_at?: string;
          id?: string;
          note?: string | null;
          task_id?: string;
          updated_at?: string;
          user_id?: string;
        };
        Relationships: [
          {
            foreignKeyName: "task_assignments_assigned_by_fkey";
            columns: ["assigned_by"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "task_assignments_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "active_tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "task_assignments_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "dead_letters";
            referencedColumns: ["task_id"];
          },
          {
            foreignKeyName: "task_assignments_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "task_assignments_user_id_fkey";
            columns: ["user_id"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      task_comments: {
        Row: {
          content: string;
          created_at: string;
          id: string;
          task_id: string;
          updated_at: string;
          user_id: string;
        };
        ComputedFields: never;
        Insert: {
          content: string;
          created_at?: string;
          id?: string;
          task_id: string;
          updated_at?: string;
          user_id?: string;
        };
        Update: {
          content?: string;
          created_at?: string;
          id?: string;
          task_id?: string;
          updated_at?: string;
          user_id?: string;
        };
        Relationships: [
          {
            foreignKeyName: "task_comments_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "active_tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "task_comments_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "dead_letters";
            referencedColumns: ["task_id"];
          },
          {
            foreignKeyName: "task_comments_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "task_comments_user_id_fkey";
            columns: ["user_id"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      task_events: {
        Row: {
          attempt: number;
          created_at: string;
          data: NonNullable<Json>;
          id: number;
          message: string | null;
          sequence: number;
          task_id: string;
          type: string;
        };
        ComputedFields: never;
        Insert: {
          attempt: number;
          created_at?: string;
          data?: NonNullable<Json>;
          id?: never;
          message?: string | null;
          sequence: number;
          task_id: string;
          type: string;
        };
        Update: {
          attempt?: number;
          created_at?: string;
          data?: NonNullable<Json>;
          id?: never;
          message?: string | null;
          sequence?: number;
          task_id?: string;
          type?: string;
        };
        Relationships: [
          {
            foreignKeyName: "task_events_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "active_tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "task_events_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "dead_letters";
            referencedColumns: ["task_id"];
          },
          {
            foreignKeyName: "task_events_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "tasks";
            referencedColumns: ["id"];
          },
        ];
      };
      task_methods: {
        Row: {
          created_at: string;
          description: string;
          is_internal: boolean;
          name: string;
          needs_agent: boolean;
          updated_at: string;
        };
        ComputedFields: never;
        Insert: {
          created_at?: string;
          description: string;
          is_internal?: boolean;
          name: string;
          needs_agent?: boolean;
          updated_at?: string;
        };
        Update: {
          created_at?: string;
          description?: string;
          is_internal?: boolean;
          name?: string;
          needs_agent?: boolean;
          updated_at?: string;
        };
        Relationships: [];
      };
      tasks: {
        Row: {
          agent_conversation_id: string | null;
          agent_name: string | null;
          agent_slug: string | null;
          attempt: number;
          backoff: string;
          completed_at: string | null;
          concurrency_key: string | null;
          concurrency_limit: number;
          created_at: string;
          deliverable_metadata: NonNullable<Json>;
          deliverable_type: string;
          error_code: string | null;
          error_data: Json | null;
          error_message: string | null;
          evaluation: NonNullable<Json>;
          execution_id: string | null;
          id: string;
          idempotency_key: string | null;
          lease_expires_at: string | null;
          lease_token: string | null;
          llm_metadata: NonNullable<Json>;
          max_attempts: number;
          metadata: NonNullable<Json>;
          method: string;
          organization_slug: string;
          params: NonNullable<Json>;
          parent_task_id: string | null;
          paused_at: string | null;
          priority: number;
          progress: number;
          progress_message: string | null;
          project_step_id: string | null;
          prompt: string;
          response: string | null;
          response_metadata: NonNullable<Json>;
          scheduled_at: string;
          started_at: string | null;
          status: string;
          timeout_seconds: number;
          trace_context: string | null;
          updated_at: string;
          user_id: string;
          worker_id: string | null;
        };
        ComputedFields: never;
        Insert: {
          agent_conversation_id?: string | null;
          agent_name?: string | null;
          agent_slug?: string | null;
          attempt?: number;
          backoff?: string;
          completed_at?: string | null;
          concurrency_key?: string | null;
          concurrency_limit?: number;
          created_at?: string;
          deliverable_metadata?: NonNullable<Json>;
          deliverable_type?: string;
          error_code?: string | null;
          error_data?: Json | null;
          error_message?: string | null;
          evaluation?: NonNullable<Json>;
          execution_id?: string | null;
          id?: string;
          idempotency_key?: string | null;
          lease_expires_at?: string | null;
          lease_token?: string | null;
          llm_metadata?: NonNullable<Json>;
          max_attempts?: number;
          metadata?: NonNullable<Json>;
          method: string;
          organization_slug: string;
          params?: NonNullable<Json>;
          parent_task_id?: string | null;
          paused_at?: string | null;
          priority?: number;
          progress?: number;
          progress_message?: string | null;
          project_step_id?: string | null;
          prompt: string;
          response?: string | null;
          response_metadata?: NonNullable<Json>;
          scheduled_at?: string;
          started_at?: string | null;
          status?: string;
          timeout_seconds?: number;
          trace_context?: string | null;
          updated_at?: string;
          user_id?: string;
          worker_id?: string | null;
        };
        Update: {
          agent_conversation_id?: string | null;
          agent_name?: string | null;
          agent_slug?: string | null;
          attempt?: number;
          backoff?: string;
          completed_at?: string | null;
          concurrency_key?: string | null;
          concurrency_limit?: number;
          created_at?: string;
          deliverable_metadata?: NonNullable<Json>;
          deliverable_type?: string;
          error_code?: string | null;
          error_data?: Json | null;
          error_message?: string | null;
          evaluation?: NonNullable<Json>;
          execution_id?: string | null;
          id?: string;
          idempotency_key?: string | null;
          lease_expires_at?: string | null;
          lease_token?: string | null;
          llm_metadata?: NonNullable<Json>;
          max_attempts?: number;
          metadata?: NonNullable<Json>;
          method?: string;
          organization_slug?: string;
          params?: NonNullable<Json>;
          parent_task_id?: string | null;
          paused_at?: string | null;
          priority?: number;
          progress?: number;
          progress_message?: string | null;
          project_step_id?: string | null;
          prompt?: string;
          response?: string | null;
          response_metadata?: NonNullable<Json>;
          scheduled_at?: string;
          started_at?: string | null;
          status?: string;
          timeout_seconds?: number;
          trace_context?: string | null;
          updated_at?: string;
          user_id?: string;
          worker_id?: string | null;
        };
        Relationships: [
          {
            foreignKeyName: "tasks_agent_conversation_id_fkey";
            columns: ["agent_conversation_id"];
            isOneToOne: false;
            referencedRelation: "agent_conversations";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "tasks_agent_conversation_id_fkey";
            columns: ["agent_conversation_id"];
            isOneToOne: false;
            referencedRelation: "recent_conversations";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "tasks_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agent_containers";
            referencedColumns: ["agent_slug"];
          },
          {
            foreignKeyName: "tasks_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "tasks_execution_id_fkey";
            columns: ["execution_id"];
            isOneToOne: false;
            referencedRelation: "workflow_executions";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "tasks_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "tasks_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "tasks_parent_task_id_fkey";
            columns: ["parent_task_id"];
            isOneToOne: false;
            referencedRelation: "active_tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "tasks_parent_task_id_fkey";
            columns: ["parent_task_id"];
            isOneToOne: false;
            referencedRelation: "dead_letters";
            referencedColumns: ["task_id"];
          },
          {
            foreignKeyName: "tasks_parent_task_id_fkey";
            columns: ["parent_task_id"];
            isOneToOne: false;
            referencedRelation: "tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "tasks_project_step_id_fkey";
            columns: ["project_step_id"];
            isOneToOne: false;
            referencedRelation: "project_steps";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "tasks_user_id_fkey";
            columns: ["user_id"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      usage_events: {
        Row: {
          agent_slug: string | null;
          cached_tokens: number;
          cost: number | null;
          created_at: string;
          id: number;
          input_tokens: number;
          model: string;
          organization_slug: string;
          output_tokens: number;
          price_version: string | null;
          provider: string;
          run_id: string | null;
          task_id: string | null;
          user_id: string | null;
        };
        ComputedFields: never;
        Insert: {
          agent_slug?: string | null;
          cached_tokens?: number;
          cost?: number | null;
          created_at?: string;
          id?: never;
          input_tokens?: number;
          model: string;
          organization_slug: string;
          output_tokens?: number;
          price_version?: string | null;
          provider: string;
          run_id?: string | null;
          task_id?: string | null;
          user_id?: string | null;
        };
        Update: {
          agent_slug?: string | null;
          cached_tokens?: number;
          cost?: number | null;
          created_at?: string;
          id?: never;
          input_tokens?: number;
          model?: string;
          organization_slug?: string;
          output_tokens?: number;
          price_version?: string | null;
          provider?: string;
          run_id?: string | null;
          task_id?: string | null;
          user_id?: string | null;
        };
        Relationships: [
          {
            foreignKeyName: "usage_events_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "usage_events_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "usage_events_run_id_fkey";
            columns: ["run_id"];
            isOneToOne: false;
            referencedRelation: "performance_logs";
            referencedColumns: ["run_id"];
          },
          {
            foreignKeyName: "usage_events_run_id_fkey";
            columns: ["run_id"];
            isOneToOne: false;
            referencedRelation: "runs";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "usage_events_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "active_tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "usage_events_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "dead_letters";
            referencedColumns: ["task_id"];
          },
          {
            foreignKeyName: "usage_events_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "usage_events_user_id_fkey";
            columns: ["user_id"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      users: {
        Row: {
          created_at: string;
          display_name: string | null;
          email: string | null;
          email_verified: boolean;
          first_name: string | null;
          id: string;
          is_active: boolean;
          last_login_at: string | null;
          last_name: string | null;
          namespace_access: NonNullable<Json>;
          organization_slug: string | null;
          role: string | null;
          roles: NonNullable<Json>;
          status: string;
          subscription_tier: string;
          system_role: string;
          updated_at: string;
        };
        ComputedFields: never;
        Insert: {
          created_at?: string;
          display_name?: string | null;
          email?: string | null;
          email_verified?: boolean;
          first_name?: string | null;
          id: string;
          is_active?: never;
          last_login_at?: string | null;
          last_name?: string | null;
          namespace_access?: NonNullable<Json>;
          organization_slug?: string | null;
          role?: string | null;
          roles?: NonNullable<Json>;
          status?: string;
          subscription_tier?: string;
          system_role?: string;
          updated_at?: string;
        };
        Update: {
          created_at?: string;
          display_name?: string | null;
          email?: string | null;
          email_verified?: boolean;
          first_name?: string | null;
          id?: string;
          is_active?: never;
          last_login_at?: string | null;
          last_name?: string | null;
          namespace_access?: NonNullable<Json>;
          organization_slug?: string | null;
          role?: string | null;
          roles?: NonNullable<Json>;
          status?: string;
          subscription_tier?: string;
          system_role?: string;
          updated_at?: string;
        };
        Relationships: [
          {
            foreignKeyName: "users_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "users_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
        ];
      };
      webhook_deliveries: {
        Row: {
          attempts: number;
          completed_at: string | null;
          created_at: string;
          event_type: string;
          id: string;
          last_error: string | null;
          last_response_code: number | null;
          next_attempt_at: string | null;
          organization_slug: string;
          payload: NonNullable<Json>;
          status: string;
          task_id: string | null;
          updated_at: string;
          webhook_id: string;
        };
        ComputedFields: never;
        Insert: {
          attempts?: number;
          completed_at?: string | null;
          created_at?: string;
          event_type: string;
          id?: string;
          last_error?: string | null;
          last_response_code?: number | null;
          next_attempt_at?: string | null;
          organization_slug: string;
          payload: NonNullable<Json>;
          status?: string;
          task_id?: string | null;
          updated_at?: string;
          webhook_id: string;
        };
        Update: {
          attempts?: number;
          completed_at?: string | null;
          created_at?: string;
          event_type?: string;
          id?: string;
          last_error?: string | null;
          last_response_code?: number | null;
          next_attempt_at?: string | null;
          organization_slug?: string;
          payload?: NonNullable<Json>;
          status?: string;
          task_id?: string | null;
          updated_at?: string;
          webhook_id?: string;
        };
        Relationships: [
          {
            foreignKeyName: "webhook_deliveries_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "webhook_deliveries_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "webhook_deliveries_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: true;
            referencedRelation: "active_tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "webhook_deliveries_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: true;
            referencedRelation: "dead_letters";
            referencedColumns: ["task_id"];
          },
          {
            foreignKeyName: "webhook_deliveries_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: true;
            referencedRelation: "tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "webhook_deliveries_webhook_id_fkey";
            columns: ["webhook_id"];
            isOneToOne: false;
            referencedRelation: "webhooks";
            referencedColumns: ["id"];
          },
        ];
      };
      webhooks: {
        Row: {
          created_at: string;
          created_by: string | null;
          description: string | null;
          disabled_reason: string | null;
          enabled: boolean;
          events: string[];
          failing_since: string | null;
          id: string;
          organization_slug: string;
          updated_at: string;
          url: string;
        };
        ComputedFields: never;
        Insert: {
          created_at?: string;
          created_by?: string | null;
          description?: string | null;
          disabled_reason?: string | null;
          enabled?: boolean;
          events: string[];
          failing_since?: string | null;
          id?: string;
          organization_slug: string;
          updated_at?: string;
          url: string;
        };
        Update: {
          created_at?: string;
          created_by?: string | null;
          description?: string | null;
          disabled_reason?: string | null;
          enabled?: boolean;
          events?: string[];
          failing_since?: string | null;
          id?: string;
          organization_slug?: string;
          updated_at?: string;
          url?: string;
        };
        Relationships: [
          {
            foreignKeyName: "webhooks_created_by_fkey";
            columns: ["created_by"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "webhooks_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "webhooks_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
        ];
      };
      worker_tokens: {
        Row: {
          created_at: string;
          expires_at: string;
          id: string;
          last_used_at: string | null;
          name: string;
          organization_slug: string;
          revoked_at: string | null;
          revoked_by: string | null;
          updated_at: string;
        };
        ComputedFields: never;
        Insert: {
          created_at?: string;
          expires_at: string;
          id?: string;
          last_used_at?: string | null;
          name: string;
          organization_slug: string;
          revoked_at?: string | null;
          revoked_by?: string | null;
          updated_at?: string;
        };
        Update: {
          created_at?: string;
          expires_at?: string;
          id?: string;
          last_used_at?: string | null;
          name?: string;
          organization_slug?: string;
          revoked_at?: string | null;
          revoked_by?: string | null;
          updated_at?: string;
        };
        Relationships: [
          {
            foreignKeyName: "worker_tokens_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "worker_tokens_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "worker_tokens_revoked_by_fkey";
            columns: ["revoked_by"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      workers: {
        Row: {
          concurrency: number | null;
          created_at: string;
          hostname: string | null;
          id: string;
          last_seen_at: string;
          methods: string[] | null;
          organizations: string[] | null;
          pid: number | null;
          started_at: string;
          status: string;
          updated_at: string;
          version: string | null;
        };
        ComputedFields: never;
        Insert: {
          concurrency?: number | null;
          created_at?: string;
          hostname?: string | null;
          id: string;
          last_seen_at?: string;
          methods?: string[] | null;
          organizations?: string[] | null;
          pid?: number | null;
          started_at?: string;
          status?: string;
          updated_at?: string;
          version?: string | null;
        };
        Update: {
          concurrency?: number | null;
          created_at?: string;
          hostname?: string | null;
          id?: string;
          last_seen_at?: string;
          methods?: string[] | null;
          organizations?: string[] | null;
          pid?: number | null;
          started_at?: string;
          status?: string;
          updated_at?: string;
          version?: string | null;
        };
        Relationships: [];
      };
      workflow_data: {
        Row: {
          created_at: string;
          created_by_agent: string | null;
          data_type: string | null;
          id: string;
          key: string;
          run_id: string;
          scope_id: string;
          step_id: string | null;
          tags: string[];
          value: NonNullable<Json>;
        };
        ComputedFields: never;
        Insert: {
          created_at?: string;
          created_by_agent?: string | null;
          data_type?: string | null;
          id?: string;
          key: string;
          run_id: string;
          scope_id: string;
          step_id?: string | null;
          tags?: string[];
          value: NonNullable<Json>;
        };
        Update: {
          created_at?: string;
          created_by_agent?: string | null;
          data_type?: string | null;
          id?: string;
          key?: string;
          run_id?: string;
          scope_id?: string;
          step_id?: string | null;
          tags?: string[];
          value?: NonNullable<Json>;
        };
        Relationships: [
          {
            foreignKeyName: "workflow_data_run_id_fkey";
            columns: ["run_id"];
            isOneToOne: false;
            referencedRelation: "performance_logs";
            referencedColumns: ["run_id"];
          },
          {
            foreignKeyName: "workflow_data_run_id_fkey";
            columns: ["run_id"];
            isOneToOne: false;
            referencedRelation: "runs";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "workflow_data_step_id_fkey";
            columns: ["step_id"];
            isOneToOne: false;
            referencedRelation: "run_steps";
            referencedColumns: ["id"];
          },
        ];
      };
      workflow_executions: {
        Row: {
          agent_slug: string;
          completed_at: string | null;
          conversation_id: string | null;
          correlation_id: string;
          created_at: string;
          created_by: string | null;
          error_code: string | null;
          error_message: string | null;
          execution_data: Json | null;
          execution_logs: Json | null;
          id: string;
          max_retries: number;
          organization_slug: string;
          parent_execution_id: string | null;
          paused_at: string | null;
          performance_metrics: Json | null;
          queued_at: string;
          resource_usage: Json | null;
          resumed_at: string | null;
          retry_count: number;
          started_at: string | null;
          status: string;
          status_message: string | null;
          timeout_at: string | null;
          updated_at: string;
          workflow_id: string;
        };
        ComputedFields: never;
        Insert: {
          agent_slug: string;
          completed_at?: string | null;
          conversation_id?: string | null;
          correlation_id?: string;
          created_at?: string;
          created_by?: string | null;
          error_code?: string | null;
          error_message?: string | null;
          execution_data?: Json | null;
          execution_logs?: Json | null;
          id?: string;
          max_retries?: number;
          organization_slug: string;
          parent_execution_id?: string | null;
          paused_at?: string | null;
          performance_metrics?: Json | null;
          queued_at?: string;
          resource_usage?: Json | null;
          resumed_at?: string | null;
          retry_count?: number;
          started_at?: string | null;
          status?: string;
          status_message?: string | null;
          timeout_at?: string | null;
          updated_at?: string;
          workflow_id: string;
        };
        Update: {
          agent_slug?: string;
          completed_at?: string | null;
          conversation_id?: string | null;
          correlation_id?: string;
          created_at?: string;
          created_by?: string | null;
          error_code?: string | null;
          error_message?: string | null;
          execution_data?: Json | null;
          execution_logs?: Json | null;
          id?: string;
          max_retries?: number;
          organization_slug?: string;
          parent_execution_id?: string | null;
          paused_at?: string | null;
          performance_metrics?: Json | null;
          queued_at?: string;
          resource_usage?: Json | null;
          resumed_at?: string | null;
          retry_count?: number;
          started_at?: string | null;
          status?: string;
          status_message?: string | null;
          timeout_at?: string | null;
          updated_at?: string;
          workflow_id?: string;
        };
        Relationships: [
          {
            foreignKeyName: "workflow_executions_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agent_containers";
            referencedColumns: ["agent_slug"];
          },
          {
            foreignKeyName: "workflow_executions_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "workflow_executions_conversation_id_fkey";
            columns: ["conversation_id"];
            isOneToOne: false;
            referencedRelation: "agent_conversations";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "workflow_executions_conversation_id_fkey";
            columns: ["conversation_id"];
            isOneToOne: false;
            referencedRelation: "recent_conversations";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "workflow_executions_created_by_fkey";
            columns: ["created_by"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "workflow_executions_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "workflow_executions_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "workflow_executions_parent_execution_id_fkey";
            columns: ["parent_execution_id"];
            isOneToOne: false;
            referencedRelation: "workflow_executions";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "workflow_executions_workflow_id_fkey";
            columns: ["workflow_id"];
            isOneToOne: false;
            referencedRelation: "workflows";
            referencedColumns: ["id"];
          },
        ];
      };
      workflows: {
        Row: {
          agent_slug: string;
          created_at: string;
          created_by: string | null;
          description: string | null;
          framework: string;
          id: string;
          is_active: boolean;
          name: string;
          organization_slug: string;
          updated_at: string;
          version: string;
          workflow_data: NonNullable<Json>;
          workflow_type: string;
        };
        ComputedFields: never;
        Insert: {
          agent_slug: string;
          created_at?: string;
          created_by?: string | null;
          description?: string | null;
          framework: string;
          id?: string;
          is_active?: boolean;
          name: string;
          organization_slug: string;
          updated_at?: string;
          version?: string;
          workflow_data: NonNullable<Json>;
          workflow_type: string;
        };
        Update: {
          agent_slug?: string;
          created_at?: string;
          created_by?: string | null;
          description?: string | null;
          framework?: string;
          id?: string;
          is_active?: boolean;
          name?: string;
          organization_slug?: string;
          updated_at?: string;
          version?: string;
          workflow_data?: NonNullable<Json>;
          workflow_type?: string;
        };
        Relationships: [
          {
            foreignKeyName: "workflows_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agent_containers";
            referencedColumns: ["agent_slug"];
          },
          {
            foreignKeyName: "workflows_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "workflows_created_by_fkey";
            columns: ["created_by"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "workflows_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "workflows_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
        ];
      };
    };
    Views: {
      active_tasks: {
        Row: {
          agent_conversation_id: string | null;
          agent_name: string | null;
          agent_slug: string | null;
          attempt: number;
          backoff: string;
          completed_at: string | null;
          concurrency_key: string | null;
          concurrency_limit: number;
          conversation_title: string | null;
          created_at: string;
          deliverable_metadata: NonNullable<Json>;
          deliverable_type: string;
          error_code: string | null;
          error_data: Json | null;
          error_message: string | null;
          evaluation: NonNullable<Json>;
          execution_id: string | null;
          id: string;
          idempotency_key: string | null;
          lease_expires_at: string | null;
          lease_token: string | null;
          llm_metadata: NonNullable<Json>;
          max_attempts: number;
          metadata: NonNullable<Json>;
          method: string;
          organization_slug: string;
          params: NonNullable<Json>;
          parent_task_id: string | null;
          paused_at: string | null;
          priority: number;
          progress: number;
          progress_message: string | null;
          project_step_id: string | null;
          prompt: string;
          response: string | null;
          response_metadata: NonNullable<Json>;
          scheduled_at: string;
          started_at: string | null;
          status: string;
          timeout_seconds: number;
          updated_at: string;
          user_id: string;
          worker_id: string | null;
        };
        ComputedFields: never;
        Relationships: [
          {
            foreignKeyName: "tasks_agent_conversation_id_fkey";
            columns: ["agent_conversation_id"];
            isOneToOne: false;
            referencedRelation: "agent_conversations";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "tasks_agent_conversation_id_fkey";
            columns: ["agent_conversation_id"];
            isOneToOne: false;
            referencedRelation: "recent_conversations";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "tasks_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agent_containers";
            referencedColumns: ["agent_slug"];
          },
          {
            foreignKeyName: "tasks_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "tasks_execution_id_fkey";
            columns: ["execution_id"];
            isOneToOne: false;
            referencedRelation: "workflow_executions";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "tasks_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "tasks_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "tasks_parent_task_id_fkey";
            columns: ["parent_task_id"];
            isOneToOne: false;
            referencedRelation: "active_tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "tasks_parent_task_id_fkey";
            columns: ["parent_task_id"];
            isOneToOne: false;
            referencedRelation: "dead_letters";
            referencedColumns: ["task_id"];
          },
          {
            foreignKeyName: "tasks_parent_task_id_fkey";
            columns: ["parent_task_id"];
            isOneToOne: false;
            referencedRelation: "tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "tasks_project_step_id_fkey";
            columns: ["project_step_id"];
            isOneToOne: false;
            referencedRelation: "project_steps";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "tasks_user_id_fkey";
            columns: ["user_id"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      agent_activity: {
        Row: {
          agent_name: string | null;
          agent_slug: string | null;
          completed_count: number | null;
          failed_count: number | null;
          organization_slug: string;
          task_count: number | null;
        };
        ComputedFields: never;
        Relationships: [
          {
            foreignKeyName: "tasks_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agent_containers";
            referencedColumns: ["agent_slug"];
          },
          {
            foreignKeyName: "tasks_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "tasks_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "tasks_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
        ];
      };
      agent_containers: {
        Row: {
          agent_slug: string;
          build_type: string | null;
          container_id: string | null;
          cpu_limit: number | null;
          deployed_at: string | null;
          environment: Json | null;
          framework: string | null;
          memory_limit_mb: number | null;
          network_isolation: string;
          organization_slug: string[];
          owner_user_id: string | null;
          status: string;
          subscription_tier: string;
          version: string;
        };
        ComputedFields: never;
        Relationships: [
          {
            foreignKeyName: "agents_owner_user_id_fkey";
            columns: ["owner_user_id"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      agent_metrics: {
        Row: {
          agent_slug: string | null;
          average_seconds: number | null;
          completed_count: number | null;
          day: string | null;
          failed_count: number | null;
          organization_slug: string;
          run_count: number | null;
          total_cost: number | null;
          total_tokens: number | null;
        };
        ComputedFields: never;
        Relationships: [];
      };
      dead_letters: {
        Row: {
          agent_name: string | null;
          agent_slug: string | null;
          attempt: number;
          attempts: Json | null;
          completed_at: string | null;
          created_at: string;
          error_code: string | null;
          error_data: Json | null;
          error_message: string | null;
          max_attempts: number;
          method: string;
          organization_slug: string;
          status: string;
          task_id: string;
          user_id: string;
        };
        ComputedFields: never;
        Relationships: [
          {
            foreignKeyName: "tasks_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agent_containers";
            referencedColumns: ["agent_slug"];
          },
          {
            foreignKeyName: "tasks_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "tasks_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "tasks_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "tasks_user_id_fkey";
            columns: ["user_id"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      organization_usage: {
        Row: {
          id: string | null;
          organization_slug: string;
          period_end: string | null;
          period_start: string | null;
          runs_by_status: Json | null;
          total_cost: number | null;
          total_runs: number | null;
          total_tokens: number | null;
          usage_details: Json | null;
        };
        ComputedFields: never;
        Relationships: [];
      };
      performance_logs: {
        Row: {
          agent_slug: string | null;
          attempt: number;
          created_at: string;
          error_code: string | null;
          organization_slug: string;
          run_id: string;
          seconds_running: number | null;
          seconds_until_claimed: number | null;
          status: string;
          task_id: string | null;
          total_cost: number;
          total_tokens: number;
          worker_id: string | null;
        };
        ComputedFields: never;
        Relationships: [
          {
            foreignKeyName: "runs_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "active_tasks";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "runs_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "dead_letters";
            referencedColumns: ["task_id"];
          },
          {
            foreignKeyName: "runs_task_id_fkey";
            columns: ["task_id"];
            isOneToOne: false;
            referencedRelation: "tasks";
            referencedColumns: ["id"];
          },
        ];
      };
      project_progress: {
        Row: {
          completed_at: string | null;
          completed_steps: number;
          completed_tasks: number | null;
          conversation_id: string;
          created_at: string;
          current_step_id: string | null;
          deliverable_count: number | null;
          description: string | null;
          error_details: Json | null;
          execution_id: string | null;
          failed_steps: number;
          finished_steps: number;
          hierarchy_level: number;
          id: string;
          metadata: NonNullable<Json>;
          name: string | null;
          organization_slug: string;
          parent_project_id: string | null;
          plan_json: Json | null;
          plan_version: number;
          planning_task_id: string | null;
          progress: number;
          project_step_id: string | null;
          started_at: string | null;
          status: string;
          subproject_count: number;
          total_steps: number;
          total_tasks: number | null;
          updated_at: string;
          user_id: string;
        };
        ComputedFields: never;
        Relationships: [
          {
            foreignKeyName: "projects_conversation_id_fkey";
            columns: ["conversation_id"];
            isOneToOne: false;
            referencedRelation: "agent_conversations";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "projects_conversation_id_fkey";
            columns: ["conversation_id"];
            isOneToOne: false;
            referencedRelation: "recent_conversations";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "projects_execution_id_fkey";
            columns: ["execution_id"];
            isOneToOne: false;
            referencedRelation: "workflow_executions";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "projects_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "projects_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "projects_parent_project_id_fkey";
            columns: ["parent_project_id"];
            isOneToOne: false;
            referencedRelation: "project_progress";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "projects_parent_project_id_fkey";
            columns: ["parent_project_id"];
            isOneToOne: false;
            referencedRelation: "projects";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "projects_user_id_fkey";
            columns: ["user_id"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      queue_health: {
        Row: {
          dead: number | null;
          is_paused: boolean | null;
          method: string | null;
          oldest_pending_seconds: number | null;
          organization_slug: string | null;
          paused: number | null;
          pending: number | null;
          running: number | null;
          scheduled: number | null;
          stuck: number | null;
        };
        ComputedFields: never;
        Relationships: [];
      };
      recent_conversations: {
        Row: {
          agent_name: string;
          agent_slug: string | null;
          agent_type: string;
          created_at: string;
          ended_at: string | null;
          id: string;
          last_active_at: string;
          last_message_at: string | null;
          message_count: number | null;
          metadata: NonNullable<Json>;
          organization_slug: string;
          primary_work_product_id: string | null;
          primary_work_product_type: string | null;
          started_at: string;
          status: string;
          title: string | null;
          updated_at: string;
          user_id: string;
        };
        ComputedFields: never;
        Insert: {
          agent_name?: string | null;
          agent_slug?: string | null;
          agent_type?: string | null;
          created_at?: string | null;
          ended_at?: string | null;
          id?: string | null;
          last_active_at?: string | null;
          last_message_at?: string | null;
          message_count?: never;
          metadata?: Json | null;
          organization_slug?: string | null;
          primary_work_product_id?: string | null;
          primary_work_product_type?: string | null;
          started_at?: string | null;
          status?: string | null;
          title?: string | null;
          updated_at?: string | null;
          user_id?: string | null;
        };
        Update: {
          agent_name?: string | null;
          agent_slug?: string | null;
          agent_type?: string | null;
          created_at?: string | null;
          ended_at?: string | null;
          id?: string | null;
          last_active_at?: string | null;
          last_message_at?: string | null;
          message_count?: never;
          metadata?: Json | null;
          organization_slug?: string | null;
          primary_work_product_id?: string | null;
          primary_work_product_type?: string | null;
          started_at?: string | null;
          status?: string | null;
          title?: string | null;
          updated_at?: string | null;
          user_id?: string | null;
        };
        Relationships: [
          {
            foreignKeyName: "agent_conversations_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agent_containers";
            referencedColumns: ["agent_slug"];
          },
          {
            foreignKeyName: "agent_conversations_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "agent_conversations_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organization_usage";
            referencedColumns: ["organization_slug"];
          },
          {
            foreignKeyName: "agent_conversations_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "agent_conversations_user_id_fkey";
            columns: ["user_id"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
        ];
      };
      retention_status: {
        Row: {
          archive_days: number | null;
          archived: number | null;
          behind: number | null;
          delete_days: number | null;
          deleted: number | null;
          kind: string | null;
          last_error: string | null;
          last_run_at: string | null;
          oldest_at: string | null;
        };
        ComputedFields: never;
        Relationships: [];
      };
    };
    Functions: {
      accept_invitation: {
        Args: { token: string };
        Returns: {
          created_at: string;
          joined_at: string;
          organization_slug: string;
          permissions: NonNullable<Json>;
          role: string;
          updated_at: string;
          user_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "organization_members";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      add_run_steps: { Args: { items: Json; worker_id: string }; Returns: Json };
      add_task_events: { Args: { items: Json; worker_id: string }; Returns: Json };
      agent_card: { Args: { slug: string }; Returns: Json };
      agents_to_call: { Args: { slugs: string[]; task_id: string }; Returns: Json };
      apply_git_files: {
        Args: { attempt: number; files: Json; lease_token: string; removed?: Json; task_id: string };
        Returns: Json;
      };
      approve_plan: {
        Args: { plan_json?: Json; plan_version?: number; project_id: string };
        Returns: {
          completed_at: string | null;
          completed_steps: number;
          conversation_id: string;
          created_at: string;
          current_step_id: string | null;
          description: string | null;
          error_details: Json | null;
          execution_id: string | null;
          failed_steps: number;
          finished_steps: number;
          hierarchy_level: number;
          id: string;
          metadata: NonNullable<Json>;
          name: string | null;
          organization_slug: string;
          parent_project_id: string | null;
          plan_json: Json | null;
          plan_version: number;
          planning_task_id: string | null;
          progress: number;
          project_step_id: string | null;
          started_at: string | null;
          status: string;
          subproject_count: number;
          total_steps: number;
          updated_at: string;
          user_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "projects";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      archive_agent_instance: {
        Args: { agent_instance_id: string };
        Returns: {
          adw_id: string | null;
          adw_step: string | null;
          agent_slug: string | null;
          archived: boolean;
          created_at: string;
          created_by: string | null;
          git_worktree: string | null;
          id: string;
          input_tokens: number;
          metadata: NonNullable<Json>;
          model: string;
          name: string;
          orchestrator_agent_id: string;
          output_tokens: number;
          session_id: string | null;
          status: string;
          system_prompt: string | null;
          total_cost: number;
          updated_at: string;
          working_dir: string | null;
        };
        SetofOptions: {
          from: "*";
          to: "agent_instances";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      archive_orchestrator: {
        Args: { organization_slug: string };
        Returns: {
          agent_slug: string | null;
          archived: boolean;
          created_at: string;
          id: string;
          input_tokens: number;
          metadata: NonNullable<Json>;
          organization_slug: string;
          output_tokens: number;
          session_id: string | null;
          settings: NonNullable<Json>;
          status: string;
          system_prompt: string | null;
          total_cost: number;
          updated_at: string;
          working_dir: string | null;
        };
        SetofOptions: {
          from: "*";
          to: "orchestrator_agents";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      archived_records: {
        Args: { before?: string; kind: string; organization_slug: string; page_size?: number };
        Returns: {
          archived_at: string;
          data: Json;
          delete_at: string;
          record_id: string;
        }[];
      };
      begin_remote_task: {
        Args: { attempt: number; lease_token: string; server: string; task_id: string };
        Returns: Json;
      };
      begin_repository_sync: { Args: { attempt: number; lease_token: string; task_id: string }; Returns: Json };
      budget_status: { Args: { organization_slug: string }; Returns: Json };
      call_orchestrator: {
        Args: { action: string; arguments?: Json; attempt: number; lease_token: string; task_id: string };
        Returns: Json;
      };
      cancel_execution: {
        Args: { execution_id: string };
        Returns: {
          agent_slug: string;
          completed_at: string | null;
          conversation_id: string | null;
          correlation_id: string;
          created_at: string;
          created_by: string | null;
          error_code: string | null;
          error_message: string | null;
          execution_data: Json | null;
          execution_logs: Json | null;
          id: string;
          max_retries: number;
          organization_slug: string;
          parent_execution_id: string | null;
          paused_at: string | null;
          performance_metrics: Json | null;
          queued_at: string;
          resource_usage: Json | null;
          resumed_at: string | null;
          retry_count: number;
          started_at: string | null;
          status: string;
          status_message: string | null;
          timeout_at: string | null;
          updated_at: string;
          workflow_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "workflow_executions";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      cancel_project: {
        Args: { project_id: string };
        Returns: {
          completed_at: string | null;
          completed_steps: number;
          conversation_id: string;
          created_at: string;
          current_step_id: string | null;
          description: string | null;
          error_details: Json | null;
          execution_id: string | null;
          failed_steps: number;
          finished_steps: number;
          hierarchy_level: number;
          id: string;
          metadata: NonNullable<Json>;
          name: string | null;
          organization_slug: string;
          parent_project_id: string | null;
          plan_json: Json | null;
          plan_version: number;
          planning_task_id: string | null;
          progress: number;
          project_step_id: string | null;
          started_at: string | null;
          status: string;
          subproject_count: number;
          total_steps: number;
          updated_at: string;
          user_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "projects";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      cancel_task: {
        Args: { task_id: string };
        Returns: {
          agent_conversation_id: string | null;
          agent_name: string | null;
          agent_slug: string | null;
          attempt: number;
          backoff: string;
          completed_at: string | null;
          concurrency_key: string | null;
          concurrency_limit: number;
          created_at: string;
          deliverable_metadata: NonNullable<Json>;
          deliverable_type: string;
          error_code: string | null;
          error_data: Json | null;
          error_message: string | null;
          evaluation: NonNullable<Json>;
          execution_id: string | null;
          id: string;
          idempotency_key: string | null;
          lease_expires_at: string | null;
          lease_token: string | null;
          llm_metadata: NonNullable<Json>;
          max_attempts: number;
          metadata: NonNullable<Json>;
          method: string;
          organization_slug: string;
          params: NonNullable<Json>;
          parent_task_id: string | null;
          paused_at: string | null;
          priority: number;
          progress: number;
          progress_message: string | null;
          project_step_id: string | null;
          prompt: string;
          response: string | null;
          response_metadata: NonNullable<Json>;
          scheduled_at: string;
          started_at: string | null;
          status: string;
          timeout_seconds: number;
          trace_context: string | null;
          updated_at: string;
          user_id: string;
          worker_id: string | null;
        };
        SetofOptions: {
          from: "*";
          to: "tasks";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      cancel_tasks: {
        Args: {
          agent_slug?: string;
          max_tasks?: number;
          method?: string;
          organization_slug: string;
          status?: string;
          task_ids?: string[];
        };
        Returns: Json;
      };
      claim_schedules: { Args: { max_schedules?: number; worker_id: string }; Returns: Json };
      claim_tasks: {
        Args: {
          lease_seconds?: number;
          max_tasks?: number;
          methods?: string[];
          organizations?: string[];
          slots?: Json;
          worker_id: string;
        };
        Returns: Json;
      };
      complete_tasks: { Args: { items: Json; worker_id: string }; Returns: Json };
      configure_orchestrator: {
        Args: { agent_slug?: string; organization_slug: string; settings?: Json; system_prompt?: string };
        Returns: {
          agent_slug: string | null;
          archived: boolean;
          created_at: string;
          id: string;
          input_tokens: number;
          metadata: NonNullable<Json>;
          organization_slug: string;
          output_tokens: number;
          session_id: string | null;
          settings: NonNullable<Json>;
          status: string;
          system_prompt: string | null;
          total_cost: number;
          updated_at: string;
          working_dir: string | null;
        };
        SetofOptions: {
          from: "*";
          to: "orchestrator_agents";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      create_deliverable_version: {
        Args: { content: string; deliverable_id: string; file_attachments?: Json; format?: string; metadata?: Json };
        Returns: {
          content: string | null;
          created_at: string;
          created_by_type: string;
          deliverable_id: string;
          file_attachments: Json | null;
          format: string | null;
          id: string;
          is_current_version: boolean;
          metadata: NonNullable<Json>;
          task_id: string | null;
          updated_at: string;
          version_number: number;
        };
        SetofOptions: {
          from: "*";
          to: "deliverable_versions";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      create_invitation: {
        Args: { email: string; expires_in?: string; organization_slug: string; role?: string };
        Returns: Json;
      };
      create_organization: {
        Args: { description?: string; name: string; settings?: Json; slug: string; url?: string };
        Returns: {
          created_at: string;
          created_by: string | null;
          description: string | null;
          id: string;
          is_active: boolean;
          max_running_tasks: number | null;
          name: string;
          settings: NonNullable<Json>;
          slug: string;
          subscription_info: NonNullable<Json>;
          subscription_tier: string;
          updated_at: string;
          url: string | null;
        };
        SetofOptions: {
          from: "*";
          to: "organizations";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      create_webhook: {
        Args: { description?: string; events: string[]; organization_slug: string; url: string };
        Returns: Json;
      };
      create_worker_token: {
        Args: { minutes?: number; name: string; organization_slug: string };
        Returns: {
          created_at: string;
          expires_at: string;
          id: string;
          last_used_at: string | null;
          name: string;
          organization_slug: string;
          revoked_at: string | null;
          revoked_by: string | null;
          updated_at: string;
        };
        SetofOptions: {
          from: "*";
          to: "worker_tokens";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      delete_organization_secret: { Args: { name: string; organization_slug: string }; Returns: undefined };
      enqueue_tasks: {
        Args: { tasks?: Json };
        Returns: {
          agent_conversation_id: string | null;
          agent_name: string | null;
          agent_slug: string | null;
          attempt: number;
          backoff: string;
          completed_at: string | null;
          concurrency_key: string | null;
          concurrency_limit: number;
          created_at: string;
          deliverable_metadata: NonNullable<Json>;
          deliverable_type: string;
          error_code: string | null;
          error_data: Json | null;
          error_message: string | null;
          evaluation: NonNullable<Json>;
          execution_id: string | null;
          id: string;
          idempotency_key: string | null;
          lease_expires_at: string | null;
          lease_token: string | null;
          llm_metadata: NonNullable<Json>;
          max_attempts: number;
          metadata: NonNullable<Json>;
          method: string;
          organization_slug: string;
          params: NonNullable<Json>;
          parent_task_id: string | null;
          paused_at: string | null;
          priority: number;
          progress: number;
          progress_message: string | null;
          project_step_id: string | null;
          prompt: string;
          response: string | null;
          response_metadata: NonNullable<Json>;
          scheduled_at: string;
          started_at: string | null;
          status: string;
          timeout_seconds: number;
          trace_context: string | null;
          updated_at: string;
          user_id: string;
          worker_id: string | null;
        }[];
        SetofOptions: {
          from: "*";
          to: "tasks";
          isOneToOne: false;
          isSetofReturn: true;
        };
      };
      exchange_work: {
        Args: {
          lease_seconds?: number;
          max_tasks?: number;
          methods?: string[];
          organizations?: string[];
          report?: Json;
          request_id: string;
          worker_id: string;
        };
        Returns: Json;
      };
      fail_tasks: { Args: { items: Json; worker_id: string }; Returns: Json };
      finish_repository_sync: {
        Args: { attempt: number; commit_hash: string; lease_token: string; problems?: Json; task_id: string };
        Returns: Json;
      };
      fire_schedules: { Args: { items: Json; worker_id: string }; Returns: Json };
      forget_remote_task: { Args: { attempt: number; lease_token: string; task_id: string }; Returns: undefined };
      heartbeat_tasks: { Args: { items: Json; lease_seconds?: number; worker_id: string }; Returns: Json };
      interrupt_agent_instance: {
        Args: { agent_instance_id: string };
        Returns: {
          adw_id: string | null;
          adw_step: string | null;
          agent_slug: string | null;
          archived: boolean;
          created_at: string;
          created_by: string | null;
          git_worktree: string | null;
          id: string;
          input_tokens: number;
          metadata: NonNullable<Json>;
          model: string;
          name: string;
          orchestrator_agent_id: string;
          output_tokens: number;
          session_id: string | null;
          status: string;
          system_prompt: string | null;
          total_cost: number;
          updated_at: string;
          working_dir: string | null;
        };
        SetofOptions: {
          from: "*";
          to: "agent_instances";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      interrupt_orchestrator: {
        Args: { organization_slug: string };
        Returns: {
          agent_slug: string | null;
          archived: boolean;
          created_at: string;
          id: string;
          input_tokens: number;
          metadata: NonNullable<Json>;
          organization_slug: string;
          output_tokens: number;
          session_id: string | null;
          settings: NonNullable<Json>;
          status: string;
          system_prompt: string | null;
          total_cost: number;
          updated_at: string;
          working_dir: string | null;
        };
        SetofOptions: {
          from: "*";
          to: "orchestrator_agents";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      keep_remote_task: {
        Args: {
          attempt: number;
          context_id: string;
          lease_token: string;
          message_id: string;
          remote_task_id: string;
          task_id: string;
        };
        Returns: undefined;
      };
      latest_workflow_data: {
        Args: { execution_id?: string; project_id?: string; run_id?: string; tag?: string };
        Returns: {
          created_at: string;
          created_by_agent: string | null;
          data_type: string | null;
          id: string;
          key: string;
          run_id: string;
          scope_id: string;
          step_id: string | null;
          tags: string[];
          value: NonNullable<Json>;
        }[];
        SetofOptions: {
          from: "*";
          to: "workflow_data";
          isOneToOne: false;
          isSetofReturn: true;
        };
      };
      leave_organization: {
        Args: { organization_slug: string };
        Returns: {
          created_at: string;
          joined_at: string;
          organization_slug: string;
          permissions: NonNullable<Json>;
          role: string;
          updated_at: string;
          user_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "organization_members";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      message_orchestrator: {
        Args: {
          agent_instance_id?: string;
          idempotency_key?: string;
          message: string;
          organization_slug: string;
          user_id?: string;
        };
        Returns: Json;
      };
      open_status_webhook: {
        Args: { attempt: number; lease_token: string; task_id: string; ttl_seconds: number };
        Returns: Json;
      };
      organization_active_tasks: {
        Args: { organization_slug: string; page_size?: number };
        Returns: {
          agent_conversation_id: string | null;
          agent_name: string | null;
          agent_slug: string | null;
          attempt: number;
          backoff: string;
          completed_at: string | null;
          concurrency_key: string | null;
          concurrency_limit: number;
          conversation_title: string | null;
          created_at: string;
          deliverable_metadata: NonNullable<Json>;
          deliverable_type: string;
          error_code: string | null;
          error_data: Json | null;
          error_message: string | null;
          evaluation: NonNullable<Json>;
          execution_id: string | null;
          id: string;
          idempotency_key: string | null;
          lease_expires_at: string | null;
          lease_token: string | null;
          llm_metadata: NonNullable<Json>;
          max_attempts: number;
          metadata: NonNullable<Json>;
          method: string;
          organization_slug: string;
          params: NonNullable<Json>;
          parent_task_id: string | null;
          paused_at: string | null;
          priority: number;
          progress: number;
          progress_message: string | null;
          project_step_id: string | null;
          prompt: string;
          response: string | null;
          response_metadata: NonNullable<Json>;
          scheduled_at: string;
          started_at: string | null;
          status: string;
          timeout_seconds: number;
          updated_at: string;
          user_id: string;
          worker_id: string | null;
        }[];
        SetofOptions: {
          from: "*";
          to: "active_tasks";
          isOneToOne: false;
          isSetofReturn: true;
        };
      };
      organization_conversations: {
        Args: { before?: string; organization_slug: string; page_size?: number };
        Returns: {
          agent_name: string;
          agent_slug: string | null;
          agent_type: string;
          created_at: string;
          ended_at: string | null;
          id: string;
          last_active_at: string;
          last_message_at: string | null;
          message_count: number | null;
          metadata: NonNullable<Json>;
          organization_slug: string;
          primary_work_product_id: string | null;
          primary_work_product_type: string | null;
          started_at: string;
          status: string;
          title: string | null;
          updated_at: string;
          user_id: string;
        }[];
        SetofOptions: {
          from: "*";
          to: "recent_conversations";
          isOneToOne: false;
          isSetofReturn: true;
        };
      };
      organization_tasks: {
        Args: { before?: string; organization_slug: string; page_size?: number };
        Returns: {
          agent_conversation_id: string | null;
          agent_name: string | null;
          agent_slug: string | null;
          attempt: number;
          backoff: string;
          completed_at: string | null;
          concurrency_key: string | null;
          concurrency_limit: number;
          created_at: string;
          deliverable_metadata: NonNullable<Json>;
          deliverable_type: string;
          error_code: string | null;
          error_data: Json | null;
          error_message: string | null;
          evaluation: NonNullable<Json>;
          execution_id: string | null;
          id: string;
          idempotency_key: string | null;
          lease_expires_at: string | null;
          lease_token: string | null;
          llm_metadata: NonNullable<Json>;
          max_attempts: number;
          metadata: NonNullable<Json>;
          method: string;
          organization_slug: string;
          params: NonNullable<Json>;
          parent_task_id: string | null;
          paused_at: string | null;
          priority: number;
          progress: number;
          progress_message: string | null;
          project_step_id: string | null;
          prompt: string;
          response: string | null;
          response_metadata: NonNullable<Json>;
          scheduled_at: string;
          started_at: string | null;
          status: string;
          timeout_seconds: number;
          trace_context: string | null;
          updated_at: string;
          user_id: string;
          worker_id: string | null;
        }[];
        SetofOptions: {
          from: "*";
          to: "tasks";
          isOneToOne: false;
          isSetofReturn: true;
        };
      };
      pause_execution: {
        Args: { execution_id: string };
        Returns: {
          agent_slug: string;
          completed_at: string | null;
          conversation_id: string | null;
          correlation_id: string;
          created_at: string;
          created_by: string | null;
          error_code: string | null;
          error_message: string | null;
          execution_data: Json | null;
          execution_logs: Json | null;
          id: string;
          max_retries: number;
          organization_slug: string;
          parent_execution_id: string | null;
          paused_at: string | null;
          performance_metrics: Json | null;
          queued_at: string;
          resource_usage: Json | null;
          resumed_at: string | null;
          retry_count: number;
          started_at: string | null;
          status: string;
          status_message: string | null;
          timeout_at: string | null;
          updated_at: string;
          workflow_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "workflow_executions";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      pause_project: {
        Args: { project_id: string };
        Returns: {
          completed_at: string | null;
          completed_steps: number;
          conversation_id: string;
          created_at: string;
          current_step_id: string | null;
          description: string | null;
          error_details: Json | null;
          execution_id: string | null;
          failed_steps: number;
          finished_steps: number;
          hierarchy_level: number;
          id: string;
          metadata: NonNullable<Json>;
          name: string | null;
          organization_slug: string;
          parent_project_id: string | null;
          plan_json: Json | null;
          plan_version: number;
          planning_task_id: string | null;
          progress: number;
          project_step_id: string | null;
          started_at: string | null;
          status: string;
          subproject_count: number;
          total_steps: number;
          updated_at: string;
          user_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "projects";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      pause_queue: {
        Args: { method?: string; organization_slug?: string; reason?: string };
        Returns: {
          created_at: string;
          id: string;
          method: string | null;
          organization_slug: string | null;
          paused_by: string | null;
          reason: string | null;
        };
        SetofOptions: {
          from: "*";
          to: "queue_pauses";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      pause_task: { Args: { items: Json; worker_id: string }; Returns: Json };
      plan_project: {
        Args: {
          agent_slug: string;
          agents?: string[];
          conversation_id: string;
          max_steps?: number;
          name?: string;
          prompt: string;
          start?: boolean;
        };
        Returns: {
          completed_at: string | null;
          completed_steps: number;
          conversation_id: string;
          created_at: string;
          current_step_id: string | null;
          description: string | null;
          error_details: Json | null;
          execution_id: string | null;
          failed_steps: number;
          finished_steps: number;
          hierarchy_level: number;
          id: string;
          metadata: NonNullable<Json>;
          name: string | null;
          organization_slug: string;
          parent_project_id: string | null;
          plan_json: Json | null;
          plan_version: number;
          planning_task_id: string | null;
          progress: number;
          project_step_id: string | null;
          started_at: string | null;
          status: string;
          subproject_count: number;
          total_steps: number;
          updated_at: string;
          user_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "projects";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      project_diagram: { Args: { project_id: string }; Returns: string };
      project_overview: { Args: { after_index?: number; page_size?: number; project_id: string }; Returns: Json };
      project_step_result: { Args: { project_step_id: string }; Returns: Json };
      publish_agent: {
        Args: { agent_slug: string; marketplace_name?: string; organization_slug?: string };
        Returns: {
          action: string | null;
          agent_slug: string;
          agent_version: string | null;
          created_at: string;
          error_code: string | null;
          error_message: string | null;
          id: string;
          listing_hash: string | null;
          look_at: string | null;
          marketplace_agent_id: string | null;
          marketplace_id: string;
          marketplace_name: string;
          organization_slug: string | null;
          published_at: string | null;
          requested_at: string;
          requested_by: string | null;
          revision: number;
          status: string;
          task_id: string | null;
          unpublished_at: string | null;
          updated_at: string;
          usage_error: string | null;
          usage_fetched_at: string | null;
          usage_metrics: NonNullable<Json>;
        };
        SetofOptions: {
          from: "*";
          to: "marketplace_integrations";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      read_ciphertexts: { Args: { after?: string; max_rows?: number; source: string }; Returns: Json };
      read_git_credential: { Args: { repository_id: string }; Returns: Json };
      read_marketplace_job: { Args: { integration_id: string; lease_token: string }; Returns: Json };
      read_organization_secrets: { Args: { names: string[]; organization_slug: string }; Returns: Json };
      read_plan_request: { Args: { attempt: number; lease_token: string; task_id: string }; Returns: Json };
      read_repository_sync: { Args: { attempt: number; lease_token: string; task_id: string }; Returns: Json };
      read_status_webhooks: { Args: { ids: string[] }; Returns: Json };
      read_step_input: { Args: { lease_token: string; task_id: string }; Returns: Json };
      read_webhook_delivery: { Args: { delivery_id: string; lease_token: string }; Returns: Json };
      read_workflow_data: {
        Args: { attempt: number; key: string; lease_token: string; task_id: string };
        Returns: Json;
      };
      read_workflow_execution: { Args: { attempt: number; lease_token: string; task_id: string }; Returns: Json };
      receive_git_push: { Args: { "": Json }; Returns: Json };
      redrive_tasks: {
        Args: { error_code?: string; max_tasks?: number; organization_slug: string; task_ids?: string[] };
        Returns: Json;
      };
      refine_project: {
        Args: { agent_slug?: string; project_id: string; prompt: string };
        Returns: {
          completed_at: string | null;
          completed_steps: number;
          conversation_id: string;
          created_at: string;
          current_step_id: string | null;
          description: string | null;
          error_details: Json | null;
          execution_id: string | null;
          failed_steps: number;
          finished_steps: number;
          hierarchy_level: number;
          id: string;
          metadata: NonNullable<Json>;
          name: string | null;
          organization_slug: string;
          parent_project_id: string | null;
          plan_json: Json | null;
          plan_version: number;
          planning_task_id: string | null;
          progress: number;
          project_step_id: string | null;
          started_at: string | null;
          status: string;
          subproject_count: number;
          total_steps: number;
          updated_at: string;
          user_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "projects";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      register_worker: {
        Args: { info?: Json; worker_id: string };
        Returns: {
          concurrency: number | null;
          created_at: string;
          hostname: string | null;
          id: string;
          last_seen_at: string;
          methods: string[] | null;
          organizations: string[] | null;
          pid: number | null;
          started_at: string;
          status: string;
          updated_at: string;
          version: string | null;
        };
        SetofOptions: {
          from: "*";
          to: "workers";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      release_tasks: { Args: { items: Json; worker_id: string }; Returns: Json };
      remove_member: {
        Args: { organization_slug: string; user_id: string };
        Returns: {
          created_at: string;
          joined_at: string;
          organization_slug: string;
          permissions: NonNullable<Json>;
          role: string;
          updated_at: string;
          user_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "organization_members";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      renew_push_secret: { Args: { repository_id: string }; Returns: Json };
      replace_ciphertexts: { Args: { items: Json; source: string }; Returns: Json };
      replay_webhook_delivery: {
        Args: { delivery_id: string };
        Returns: {
          attempts: number;
          completed_at: string | null;
          created_at: string;
          event_type: string;
          id: string;
          last_error: string | null;
          last_response_code: number | null;
          next_attempt_at: string | null;
          organization_slug: string;
          payload: NonNullable<Json>;
          status: string;
          task_id: string | null;
          updated_at: string;
          webhook_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "webhook_deliveries";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      report_task_status: { Args: { "": Json }; Returns: Json };
      respond_to_input_request: {
        Args: { input_request_id: string; response: Json };
        Returns: {
          created_at: string;
          execution_id: string | null;
          expires_at: string | null;
          id: string;
          metadata: NonNullable<Json>;
          on_expiry: string;
          organization_slug: string;
          project_step_id: string | null;
          prompt: string;
          request_type: string;
          requested_at: string;
          required_role: string;
          responded_at: string | null;
          responded_by: string | null;
          response: Json | null;
          run_id: string | null;
          schema: NonNullable<Json>;
          status: string;
          step_id: string | null;
          task_id: string | null;
          updated_at: string;
        };
        SetofOptions: {
          from: "*";
          to: "input_requests";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      restore_agent_version: {
        Args: { agent_slug: string; version: string };
        Returns: {
          agent_type: string;
          build_type: string | null;
          capabilities: string[];
          container_id: string | null;
          context: string;
          created_at: string;
          department: string;
          deployed_at: string | null;
          description: string;
          endpoint: Json | null;
          framework: string | null;
          io_schema: NonNullable<Json>;
          llm_config: Json | null;
          max_concurrent_tasks: number | null;
          metadata: Json | null;
          name: string;
          organization_slug: string[];
          owner_type: string;
          owner_user_id: string | null;
          resource_limits: Json | null;
          slug: string;
          status: string;
          tags: string[] | null;
          updated_at: string;
          version: string;
        };
        SetofOptions: {
          from: "*";
          to: "agents";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      resume_execution: {
        Args: { execution_id: string };
        Returns: {
          agent_slug: string;
          completed_at: string | null;
          conversation_id: string | null;
          correlation_id: string;
          created_at: string;
          created_by: string | null;
          error_code: string | null;
          error_message: string | null;
          execution_data: Json | null;
          execution_logs: Json | null;
          id: string;
          max_retries: number;
          organization_slug: string;
          parent_execution_id: string | null;
          paused_at: string | null;
          performance_metrics: Json | null;
          queued_at: string;
          resource_usage: Json | null;
          resumed_at: string | null;
          retry_count: number;
          started_at: string | null;
          status: string;
          status_message: string | null;
          timeout_at: string | null;
          updated_at: string;
          workflow_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "workflow_executions";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      resume_project: {
        Args: { project_id: string };
        Returns: {
          completed_at: string | null;
          completed_steps: number;
          conversation_id: string;
          created_at: string;
          current_step_id: string | null;
          description: string | null;
          error_details: Json | null;
          execution_id: string | null;
          failed_steps: number;
          finished_steps: number;
          hierarchy_level: number;
          id: string;
          metadata: NonNullable<Json>;
          name: string | null;
          organization_slug: string;
          parent_project_id: string | null;
          plan_json: Json | null;
          plan_version: number;
          planning_task_id: string | null;
          progress: number;
          project_step_id: string | null;
          started_at: string | null;
          status: string;
          subproject_count: number;
          total_steps: number;
          updated_at: string;
          user_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "projects";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      resume_queue: {
        Args: { method?: string; organization_slug?: string };
        Returns: {
          created_at: string;
          id: string;
          method: string | null;
          organization_slug: string | null;
          paused_by: string | null;
          reason: string | null;
        }[];
        SetofOptions: {
          from: "*";
          to: "queue_pauses";
          isOneToOne: false;
          isSetofReturn: true;
        };
      };
      retry_execution: {
        Args: { execution_id: string };
        Returns: {
          agent_slug: string;
          completed_at: string | null;
          conversation_id: string | null;
          correlation_id: string;
          created_at: string;
          created_by: string | null;
          error_code: string | null;
          error_message: string | null;
          execution_data: Json | null;
          execution_logs: Json | null;
          id: string;
          max_retries: number;
          organization_slug: string;
          parent_execution_id: string | null;
          paused_at: string | null;
          performance_metrics: Json | null;
          queued_at: string;
          resource_usage: Json | null;
          resumed_at: string | null;
          retry_count: number;
          started_at: string | null;
          status: string;
          status_message: string | null;
          timeout_at: string | null;
          updated_at: string;
          workflow_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "workflow_executions";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      retry_project_step: {
        Args: { project_step_id: string };
        Returns: {
          completed_at: string | null;
          completed_steps: number;
          conversation_id: string;
          created_at: string;
          current_step_id: string | null;
          description: string | null;
          error_details: Json | null;
          execution_id: string | null;
          failed_steps: number;
          finished_steps: number;
          hierarchy_level: number;
          id: string;
          metadata: NonNullable<Json>;
          name: string | null;
          organization_slug: string;
          parent_project_id: string | null;
          plan_json: Json | null;
          plan_version: number;
          planning_task_id: string | null;
          progress: number;
          project_step_id: string | null;
          started_at: string | null;
          status: string;
          subproject_count: number;
          total_steps: number;
          updated_at: string;
          user_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "projects";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      retry_task: {
        Args: { task_id: string };
        Returns: {
          agent_conversation_id: string | null;
          agent_name: string | null;
          agent_slug: string | null;
          attempt: number;
          backoff: string;
          completed_at: string | null;
          concurrency_key: string | null;
          concurrency_limit: number;
          created_at: string;
          deliverable_metadata: NonNullable<Json>;
          deliverable_type: string;
          error_code: string | null;
          error_data: Json | null;
          error_message: string | null;
          evaluation: NonNullable<Json>;
          execution_id: string | null;
          id: string;
          idempotency_key: string | null;
          lease_expires_at: string | null;
          lease_token: string | null;
          llm_metadata: NonNullable<Json>;
          max_attempts: number;
          metadata: NonNullable<Json>;
          method: string;
          organization_slug: string;
          params: NonNullable<Json>;
          parent_task_id: string | null;
          paused_at: string | null;
          priority: number;
          progress: number;
          progress_message: string | null;
          project_step_id: string | null;
          prompt: string;
          response: string | null;
          response_metadata: NonNullable<Json>;
          scheduled_at: string;
          started_at: string | null;
          status: string;
          timeout_seconds: number;
          trace_context: string | null;
          updated_at: string;
          user_id: string;
          worker_id: string | null;
        };
        SetofOptions: {
          from: "*";
          to: "tasks";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      revoke_worker_token: {
        Args: { token_id: string };
        Returns: {
          created_at: string;
          expires_at: string;
          id: string;
          last_used_at: string | null;
          name: string;
          organization_slug: string;
          revoked_at: string | null;
          revoked_by: string | null;
          updated_at: string;
        };
        SetofOptions: {
          from: "*";
          to: "worker_tokens";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      rotate_webhook_secret: { Args: { overlap_seconds?: number; webhook_id: string }; Returns: Json };
      run_schedule: {
        Args: { schedule_id: string };
        Returns: {
          agent_conversation_id: string | null;
          agent_name: string | null;
          agent_slug: string | null;
          attempt: number;
          backoff: string;
          completed_at: string | null;
          concurrency_key: string | null;
          concurrency_limit: number;
          created_at: string;
          deliverable_metadata: NonNullable<Json>;
          deliverable_type: string;
          error_code: string | null;
          error_data: Json | null;
          error_message: string | null;
          evaluation: NonNullable<Json>;
          execution_id: string | null;
          id: string;
          idempotency_key: string | null;
          lease_expires_at: string | null;
          lease_token: string | null;
          llm_metadata: NonNullable<Json>;
          max_attempts: number;
          metadata: NonNullable<Json>;
          method: string;
          organization_slug: string;
          params: NonNullable<Json>;
          parent_task_id: string | null;
          paused_at: string | null;
          priority: number;
          progress: number;
          progress_message: string | null;
          project_step_id: string | null;
          prompt: string;
          response: string | null;
          response_metadata: NonNullable<Json>;
          scheduled_at: string;
          started_at: string | null;
          status: string;
          timeout_seconds: number;
          trace_context: string | null;
          updated_at: string;
          user_id: string;
          worker_id: string | null;
        };
        SetofOptions: {
          from: "*";
          to: "tasks";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      run_step_payload: { Args: { step_id: string }; Returns: Json };
      run_tree: { Args: { after_sequence?: number; max_steps?: number; run_id: string }; Returns: Json };
      scoped_add_run_steps: { Args: { items: Json; worker_id: string }; Returns: Json };
      scoped_add_task_events: { Args: { items: Json; worker_id: string }; Returns: Json };
      scoped_agents_to_call: { Args: { slugs: string[]; task_id: string }; Returns: Json };
      scoped_begin_remote_task: {
        Args: { attempt: number; lease_token: string; server: string; task_id: string };
        Returns: Json;
      };
      scoped_call_orchestrator: {
        Args: { action: string; arguments?: Json; attempt: number; lease_token: string; task_id: string };
        Returns: Json;
      };
      scoped_claim_tasks: {
        Args: {
          lease_seconds?: number;
          max_tasks?: number;
          methods?: string[];
          organizations?: string[];
          slots?: Json;
          worker_id: string;
        };
        Returns: Json;
      };
      scoped_complete_tasks: { Args: { items: Json; worker_id: string }; Returns: Json };
      scoped_exchange_work: {
        Args: {
          lease_seconds?: number;
          max_tasks?: number;
          methods?: string[];
          organizations?: string[];
          report?: Json;
          request_id: string;
          worker_id: string;
        };
        Returns: Json;
      };
      scoped_fail_tasks: { Args: { items: Json; worker_id: string }; Returns: Json };
      scoped_forget_remote_task: {
        Args: { attempt: number; lease_token: string; task_id: string };
        Returns: undefined;
      };
      scoped_heartbeat_tasks: { Args: { items: Json; lease_seconds?: number; worker_id: string }; Returns: Json };
      scoped_keep_remote_task: {
        Args: {
          attempt: number;
          context_id: string;
          lease_token: string;
          message_id: string;
          remote_task_id: string;
          task_id: string;
        };
        Returns: undefined;
      };
      scoped_open_status_webhook: {
        Args: { attempt: number; lease_token: string; task_id: string; ttl_seconds: number };
        Returns: Json;
      };
      scoped_pause_task: { Args: { items: Json; worker_id: string }; Returns: Json };
      scoped_read_plan_request: { Args: { attempt: number; lease_token: string; task_id: string }; Returns: Json };
      scoped_read_status_webhooks: { Args: { ids: string[] }; Returns: Json };
      scoped_read_workflow_data: {
        Args: { attempt: number; key: string; lease_token: string; task_id: string };
        Returns: Json;
      };
      scoped_register_worker: {
        Args: { info?: Json; worker_id: string };
        Returns: {
          concurrency: number | null;
          created_at: string;
          hostname: string | null;
          id: string;
          last_seen_at: string;
          methods: string[] | null;
          organizations: string[] | null;
          pid: number | null;
          started_at: string;
          status: string;
          updated_at: string;
          version: string | null;
        };
        SetofOptions: {
          from: "*";
          to: "workers";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      scoped_release_tasks: { Args: { items: Json; worker_id: string }; Returns: Json };
      scoped_stop_worker: { Args: { worker_id: string }; Returns: undefined };
      scoped_write_plan: {
        Args: { attempt: number; lease_token: string; name?: string; plan: Json; task_id: string };
        Returns: Json;
      };
      scoped_write_system_logs: { Args: { entries: Json }; Returns: number };
      scoped_write_workflow_data: {
        Args: {
          attempt: number;
          data_type?: string;
          key: string;
          lease_token: string;
          tags?: string[];
          task_id: string;
          value: Json;
        };
        Returns: Json;
      };
      send_test_webhook: {
        Args: { webhook_id: string };
        Returns: {
          attempts: number;
          completed_at: string | null;
          created_at: string;
          event_type: string;
          id: string;
          last_error: string | null;
          last_response_code: number | null;
          next_attempt_at: string | null;
          organization_slug: string;
          payload: NonNullable<Json>;
          status: string;
          task_id: string | null;
          updated_at: string;
          webhook_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "webhook_deliveries";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      set_current_deliverable_version: {
        Args: { deliverable_id: string; version_number: number };
        Returns: {
          content: string | null;
          created_at: string;
          created_by_type: string;
          deliverable_id: string;
          file_attachments: Json | null;
          format: string | null;
          id: string;
          is_current_version: boolean;
          metadata: NonNullable<Json>;
          task_id: string | null;
          updated_at: string;
          version_number: number;
        };
        SetofOptions: {
          from: "*";
          to: "deliverable_versions";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      set_git_credential: {
        Args: {
          encrypted_token: string;
          expires_at?: string;
          provider?: string;
          repository_id: string;
          token_name?: string;
          username?: string;
        };
        Returns: Json;
      };
      set_max_share: { Args: { max_share?: number }; Returns: number };
      set_member_role: {
        Args: { organization_slug: string; role: string; user_id: string };
        Returns: {
          created_at: string;
          joined_at: string;
          organization_slug: string;
          permissions: NonNullable<Json>;
          role: string;
          updated_at: string;
          user_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "organization_members";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      set_organization_limits: {
        Args: { limits: Json; organization_slug: string };
        Returns: {
          created_at: string;
          created_by: string | null;
          description: string | null;
          id: string;
          is_active: boolean;
          max_running_tasks: number | null;
          name: string;
          settings: NonNullable<Json>;
          slug: string;
          subscription_info: NonNullable<Json>;
          subscription_tier: string;
          updated_at: string;
          url: string | null;
        };
        SetofOptions: {
          from: "*";
          to: "organizations";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      set_organization_secret: {
        Args: { ciphertext?: string; description?: string; name: string; organization_slug: string; value?: string };
        Returns: Json;
      };
      set_retention: {
        Args: { archive_days?: number; delete_days?: number; kind: string; organization_slug?: string };
        Returns: Json;
      };
      skip_project_step: {
        Args: { project_step_id: string };
        Returns: {
          completed_at: string | null;
          completed_steps: number;
          conversation_id: string;
          created_at: string;
          current_step_id: string | null;
          description: string | null;
          error_details: Json | null;
          execution_id: string | null;
          failed_steps: number;
          finished_steps: number;
          hierarchy_level: number;
          id: string;
          metadata: NonNullable<Json>;
          name: string | null;
          organization_slug: string;
          parent_project_id: string | null;
          plan_json: Json | null;
          plan_version: number;
          planning_task_id: string | null;
          progress: number;
          project_step_id: string | null;
          started_at: string | null;
          status: string;
          subproject_count: number;
          total_steps: number;
          updated_at: string;
          user_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "projects";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      start_project: {
        Args: { project_id: string };
        Returns: {
          completed_at: string | null;
          completed_steps: number;
          conversation_id: string;
          created_at: string;
          current_step_id: string | null;
          description: string | null;
          error_details: Json | null;
          execution_id: string | null;
          failed_steps: number;
          finished_steps: number;
          hierarchy_level: number;
          id: string;
          metadata: NonNullable<Json>;
          name: string | null;
          organization_slug: string;
          parent_project_id: string | null;
          plan_json: Json | null;
          plan_version: number;
          planning_task_id: string | null;
          progress: number;
          project_step_id: string | null;
          started_at: string | null;
          status: string;
          subproject_count: number;
          total_steps: number;
          updated_at: string;
          user_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "projects";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      start_workflow: {
        Args: {
          agent_slug?: string;
          conversation_id?: string;
          input?: Json;
          max_retries?: number;
          name?: string;
          organization_slug?: string;
          parent_execution_id?: string;
          timeout_seconds?: number;
          workflow_id?: string;
        };
        Returns: {
          agent_slug: string;
          completed_at: string | null;
          conversation_id: string | null;
          correlation_id: string;
          created_at: string;
          created_by: string | null;
          error_code: string | null;
          error_message: string | null;
          execution_data: Json | null;
          execution_logs: Json | null;
          id: string;
          max_retries: number;
          organization_slug: string;
          parent_execution_id: string | null;
          paused_at: string | null;
          performance_metrics: Json | null;
          queued_at: string;
          resource_usage: Json | null;
          resumed_at: string | null;
          retry_count: number;
          started_at: string | null;
          status: string;
          status_message: string | null;
          timeout_at: string | null;
          updated_at: string;
          workflow_id: string;
        };
        SetofOptions: {
          from: "*";
          to: "workflow_executions";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      stop_worker: { Args: { worker_id: string }; Returns: undefined };
      sync_repository: { Args: { force?: boolean; repository_id: string }; Returns: Json };
      task_trace: { Args: { max_steps?: number; task_id: string }; Returns: Json };
      unpublish_agent: {
        Args: { agent_slug: string; marketplace_name?: string };
        Returns: {
          action: string | null;
          agent_slug: string;
          agent_version: string | null;
          created_at: string;
          error_code: string | null;
          error_message: string | null;
          id: string;
          listing_hash: string | null;
          look_at: string | null;
          marketplace_agent_id: string | null;
          marketplace_id: string;
          marketplace_name: string;
          organization_slug: string | null;
          published_at: string | null;
          requested_at: string;
          requested_by: string | null;
          revision: number;
          status: string;
          task_id: string | null;
          unpublished_at: string | null;
          updated_at: string;
          usage_error: string | null;
          usage_fetched_at: string | null;
          usage_metrics: NonNullable<Json>;
        };
        SetofOptions: {
          from: "*";
          to: "marketplace_integrations";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      workflow_diagram: { Args: { workflow_id: string }; Returns: string };
      write_plan: {
        Args: { attempt: number; lease_token: string; name?: string; plan: Json; task_id: string };
        Returns: Json;
      };
      write_system_logs: { Args: { entries: Json }; Returns: number };
      write_workflow_data: {
        Args: {
          attempt: number;
          data_type?: string;
          key: string;
          lease_token: string;
          tags?: string[];
          task_id: string;
          value: Json;
        };
        Returns: Json;
      };
    };
    Enums: {
      [_ in never]: never;
    };
    CompositeTypes: {
      [_ in never]: never;
    };
  };
};

type DatabaseWithoutInternals = Omit<Database, "__InternalSupabase">;

type DefaultSchema = DatabaseWithoutInternals[Extract<keyof Database, "public">];

export type Tables<
  DefaultSchemaTableNameOrOptions extends
    keyof (DefaultSchema["Tables"] & DefaultSchema["Views"]) | { schema: keyof DatabaseWithoutInternals },
  TableName extends (DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
  }
    ? keyof (DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] &
        DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"])
    : never) = never,
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? (DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] &
      DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"])[TableName] extends {
      Row: infer R;
    }
    ? R
    : never
  : DefaultSchemaTableNameOrOptions extends keyof (DefaultSchema["Tables"] & DefaultSchema["Views"])
    ? (DefaultSchema["Tables"] & DefaultSchema["Views"])[DefaultSchemaTableNameOrOptions] extends {
        Row: infer R;
      }
      ? R
      : never
    : never;

export type TablesInsert<
  DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"] | { schema: keyof DatabaseWithoutInternals },
  TableName extends (DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    : never) = never,
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
      Insert: infer I;
    }
    ? I
    : never
  : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
    ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
        Insert: infer I;
      }
      ? I
      : never
    : never;

export type TablesUpdate<
  DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"] | { schema: keyof DatabaseWithoutInternals },
  TableName extends (DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    : never) = never,
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
      Update: infer U;
    }
    ? U
    : never
  : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
    ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
        Update: infer U;
      }
      ? U
      : never
    : never;

export type Enums<
  DefaultSchemaEnumNameOrOptions extends keyof DefaultSchema["Enums"] | { schema: keyof DatabaseWithoutInternals },
  EnumName extends (DefaultSchemaEnumNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"]
    : never) = never,
> = DefaultSchemaEnumNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"][EnumName]
  : DefaultSchemaEnumNameOrOptions extends keyof DefaultSchema["Enums"]
    ? DefaultSchema["Enums"][DefaultSchemaEnumNameOrOptions]
    : never;

export type CompositeTypes<
  PublicCompositeTypeNameOrOptions extends
    keyof DefaultSchema["CompositeTypes"] | { schema: keyof DatabaseWithoutInternals },
  CompositeTypeName extends (PublicCompositeTypeNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
  }
    ? keyof DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"]
    : never) = never,
> = PublicCompositeTypeNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"][CompositeTypeName]
  : PublicCompositeTypeNameOrOptions extends keyof DefaultSchema["CompositeTypes"]
    ? DefaultSchema["CompositeTypes"][PublicCompositeTypeNameOrOptions]
    : never;

export const Constants = {
  public: {
    Enums: {},
  },
} as const;

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
            referencedRelation: "agents";
            referencedColumns: ["slug"];
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
            foreignKeyName: "deliverables_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
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
      messages: {
        Row: {
          content: string;
          conversation_id: string;
          created_at: string;
          id: string;
          metadata: NonNullable<Json>;
          receiver_type: string;
          sender_agent_slug: string | null;
          sender_type: string;
          sender_user_id: string | null;
          task_id: string | null;
          updated_at: string;
        };
        ComputedFields: never;
        Insert: {
          content: string;
          conversation_id: string;
          created_at?: string;
          id?: string;
          metadata?: NonNullable<Json>;
          receiver_type?: string;
          sender_agent_slug?: string | null;
          sender_type?: string;
          sender_user_id?: string | null;
          task_id?: string | null;
          updated_at?: string;
        };
        Update: {
          content?: string;
          conversation_id?: string;
          created_at?: string;
          id?: string;
          metadata?: NonNullable<Json>;
          receiver_type?: string;
          sender_agent_slug?: string | null;
          sender_type?: string;
          sender_user_id?: string | null;
          task_id?: string | null;
          updated_at?: string;
        };
        Relationships: [
          {
            foreignKeyName: "messages_conversation_id_fkey";
            columns: ["conversation_id"];
            isOneToOne: false;
            referencedRelation: "agent_conversations";
            referencedColumns: ["id"];
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
            referencedRelation: "tasks";
            referencedColumns: ["id"];
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
      organizations: {
        Row: {
          created_at: string;
          created_by: string | null;
          description: string | null;
          id: string;
          is_active: boolean;
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
          lease_token: string | null;
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
          lease_token?: string | null;
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
          lease_token?: string | null;
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
            foreignKeyName: "runs_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "runs_created_by_fkey";
            columns: ["created_by"];
            isOneToOne: false;
            referencedRelation: "users";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "runs_organization_slug_fkey";
            columns: ["organization_slug"];
            isOneToOne: false;
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
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
            referencedRelation: "tasks";
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
            referencedRelation: "tasks";
            referencedColumns: ["id"];
          },
        ];
      };
      task_methods: {
        Row: {
          created_at: string;
          description: string;
          name: string;
          needs_agent: boolean;
          updated_at: string;
        };
        ComputedFields: never;
        Insert: {
          created_at?: string;
          description: string;
          name: string;
          needs_agent?: boolean;
          updated_at?: string;
        };
        Update: {
          created_at?: string;
          description?: string;
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
        Insert: {
          agent_conversation_id?: string | null;
          agent_name?: string | null;
          agent_slug?: string | null;
          attempt?: number;
          backoff?: string;
          completed_at?: string | null;
          concurrency_key?: string | null;
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
            foreignKeyName: "tasks_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
          },
          {
            foreignKeyName: "tasks_method_fkey";
            columns: ["method"];
            isOneToOne: false;
            referencedRelation: "task_methods";
            referencedColumns: ["name"];
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
            referencedRelation: "tasks";
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
            foreignKeyName: "usage_events_agent_slug_fkey";
            columns: ["agent_slug"];
            isOneToOne: false;
            referencedRelation: "agents";
            referencedColumns: ["slug"];
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
            referencedRelation: "runs";
            referencedColumns: ["id"];
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
            referencedRelation: "organizations";
            referencedColumns: ["slug"];
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
    };
    Views: {
      [_ in never]: never;
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
      add_task_events: { Args: { items: Json; worker_id: string }; Returns: Json };
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
        SetofOptions: {
          from: "*";
          to: "tasks";
          isOneToOne: true;
          isSetofReturn: false;
        };
      };
      claim_tasks: {
        Args: {
          lease_seconds?: number;
          max_tasks?: number;
          methods?: string[];
          organizations?: string[];
          worker_id: string;
        };
        Returns: Json;
      };
      complete_tasks: { Args: { items: Json; worker_id: string }; Returns: Json };
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
      heartbeat_tasks: { Args: { items: Json; lease_seconds?: number; worker_id: string }; Returns: Json };
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
        SetofOptions: {
          from: "*";
          to: "tasks";
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
      stop_worker: { Args: { worker_id: string }; Returns: undefined };
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

// The seed's tables and indexes (Phase 1, tasks 1.1 to 1.7), transcribed by hand from its text.
// The catalog is compared with this record, so nothing here may be derived from the schema files.

/** What the seed's text says of a column; `default` is SQL as pg_get_expr prints it. */
export interface SeedColumn {
  type: string;
  /** Only where the seed itself says NOT NULL. */
  notNull?: true;
  default?: string;
  unique?: true;
  /** The parent table of a column that the seed marks FK; it always points at `id`. */
  references?: string;
  /** The closed list of values that the seed gives, whether or not it says CHECK. */
  values?: readonly string[];
}

export interface SeedTable {
  columns: Record<string, SeedColumn>;
  /** Uniques over several columns; those over one column are marked on the column. */
  unique?: readonly (readonly string[])[];
}

export const SEED_TABLES: Record<string, SeedTable> = {
  // 1.1 Core governance
  agent_registry: {
    columns: {
      id: { type: "uuid" },
      agent_name: { type: "text", unique: true, notNull: true },
      display_name: { type: "text", notNull: true },
      description: { type: "text" },
      category: {
        type: "text",
        notNull: true,
        values: ["client_success", "marketing", "sales", "operations", "internal"],
      },
      version: { type: "text", default: "'1.0.0'::text" },
      status: {
        type: "text",
        default: "'active'::text",
        values: ["active", "paused", "deprecated", "testing", "improving"],
      },
      owner_email: { type: "text" },
      slack_channel: { type: "text" },
      target_success_rate: { type: "numeric", default: "95.00" },
      target_avg_latency_ms: { type: "integer", default: "5000" },
      target_cost_per_execution: { type: "numeric", default: "0.10" },
      current_health_score: { type: "numeric", default: "100.00" },
      last_health_check: { type: "timestamp with time zone" },
      consecutive_failures: { type: "integer", default: "0" },
      organization_id: { type: "uuid" },
      created_at: { type: "timestamp with time zone" },
      updated_at: { type: "timestamp with time zone" },
      metadata: { type: "jsonb", default: "'{}'::jsonb" },
    },
  },
  agent_prompts: {
    columns: {
      id: { type: "uuid" },
      agent_id: { type: "uuid", references: "agent_registry" },
      version: { type: "text", notNull: true },
      system_prompt: { type: "text", notNull: true },
      tool_definitions: { type: "jsonb" },
      few_shot_examples: { type: "jsonb" },
      model_name: { type: "text", default: "'claude-sonnet-4-20250514'::text" },
      temperature: { type: "numeric", default: "0.7" },
      max_tokens: { type: "integer", default: "4096" },
      configuration: { type: "jsonb", default: "'{}'::jsonb" },
      is_active: { type: "boolean", default: "false" },
      is_baseline: { type: "boolean", default: "false" },
      parent_version_id: { type: "uuid", references: "agent_prompts" },
      total_executions: { type: "integer", default: "0" },
      successful_executions: { type: "integer", default: "0" },
      avg_quality_score: { type: "numeric" },
      organization_id: { type: "uuid" },
      created_at: { type: "timestamp with time zone" },
      created_by: { type: "text" },
      change_reason: { type: "text" },
    },
    unique: [["agent_id", "version"]],
  },
  agent_execution_logs: {
    columns: {
      id: { type: "uuid" },
      agent_id: { type: "uuid", references: "agent_registry" },
      prompt_version_id: { type: "uuid", references: "agent_prompts" },
      execution_id: { type: "uuid", notNull: true },
      timestamp: { type: "timestamp with time zone", default: "now()" },
      action_type: { type: "text", notNull: true },
      action_name: { type: "text" },
      input_data: { type: "jsonb" },
      output_data: { type: "jsonb" },
      latency_ms: { type: "integer" },
      token_count_input: { type: "integer" },
      token_count_output: { type: "integer" },
      estimated_cost_usd: { type: "numeric" },
      status: { type: "text", default: "'success'::text" },
      error_message: { type: "text" },
      error_type: { type: "text" },
      error_stack_trace: { type: "text" },
      related_entity_type: { type: "text" },
      related_entity_id: { type: "uuid" },
      user_id: { type: "uuid" },
      quality_score: { type: "numeric" },
      quality_feedback: { type: "text" },
      reviewed_by: { type: "text" },
      reviewed_at: { type: "timestamp with time zone" },
      organization_id: { type: "uuid" },
      metadata: { type: "jsonb", default: "'{}'::jsonb" },
    },
  },
  agent_performance_metrics: {
    columns: {
      id: { type: "uuid" },
      agent_id: { type: "uuid", references: "agent_registry" },
      prompt_version_id: { type: "uuid", references: "agent_prompts" },
      date: { type: "date", notNull: true },
      total_executions: { type: "integer" },
      successful_executions: { type: "integer" },
      failed_executions: { type: "integer" },
      timeout_executions: { type: "integer" },
      avg_latency_ms: { type: "numeric" },
      p50_latency_ms: { type: "numeric" },
      p95_latency_ms: { type: "numeric" },
      p99_latency_ms: { type: "numeric" },
      total_cost_usd: { type: "numeric" },
      cost_per_execution: { type: "numeric" },
      total_tokens_input: { type: "integer" },
      total_tokens_output: { type: "integer" },
      avg_quality_score: { type: "numeric" },
      human_interventions: { type: "integer" },
      unique_error_types: { type: "integer" },
      most_common_error: { type: "text" },
      error_distribution: { type: "jsonb" },
      organization_id: { type: "uuid" },
    },
    unique: [["agent_id", "prompt_version_id", "date"]],
  },

  // 1.2 Real-time monitoring
  agent_health_realtime: {
    columns: {
      id: { type: "uuid" },
      agent_id: { type: "uuid", references: "agent_registry", unique: true },
      timestamp: { type: "timestamp with time zone", default: "now()" },
      executions_5m: { type: "integer", default: "0" },
      failures_5m: { type: "integer", default: "0" },
      avg_latency_5m: { type: "numeric" },
      error_rate_5m: { type: "numeric" },
      executions_1h: { type: "integer", default: "0" },
      failures_1h: { type: "integer", default: "0" },
      avg_latency_1h: { type: "numeric" },
      error_rate_1h: { type: "numeric" },
      status: {
        type: "text",
        default: "'healthy'::text",
        values: ["healthy", "degraded", "critical", "offline"],
      },
      last_successful_execution: { type: "timestamp with time zone" },
      last_failed_execution: { type: "timestamp with time zone" },
      circuit_state: {
        type: "text",
        default: "'closed'::text",
        values: ["closed", "open", "half_open"],
      },
      circuit_opened_at: { type: "timestamp with time zone" },
      organization_id: { type: "uuid" },
    },
  },
  circuit_breaker_state: {
    columns: {
      id: { type: "uuid" },
      agent_id: { type: "uuid", references: "agent_registry", unique: true },
      state: { type: "text", default: "'closed'::text" },
      failure_count: { type: "integer", default: "0" },
      success_count: { type: "integer", default: "0" },
      last_failure_at: { type: "timestamp with time zone" },
      last_success_at: { type: "timestamp with time zone" },
      opened_at: { type: "timestamp with time zone" },
      half_open_at: { type: "timestamp with time zone" },
      failure_threshold: { type: "integer", default: "5" },
      success_threshold: { type: "integer", default: "3" },
      cooldown_seconds: { type: "integer", default: "60" },
      organization_id: { type: "uuid" },
    },
  },

  // 1.3 Evaluation and improvement
  evaluation_reports: {
    columns: {
      id: { type: "uuid" },
      agent_id: { type: "uuid", references: "agent_registry" },
      report_date: { type: "date", notNull: true },
      evaluation_period_start: { type: "date", notNull: true },
      evaluation_period_end: { type: "date", notNull: true },
      overall_score: { type: "numeric" },
      reliability_score: { type: "numeric" },
      efficiency_score: { type: "numeric" },
      cost_efficiency_score: { type: "numeric" },
      quality_score: { type: "numeric" },
      strengths: { type: "text[]" },
      weaknesses: { type: "text[]" },
      risk_level: { type: "text", values: ["low", "medium", "high", "critical"] },
      recommendations: { type: "jsonb" },
      priority_actions: { type: "text[]" },
      score_change_vs_previous: { type: "numeric" },
      comparison_details: { type: "jsonb" },
      executive_summary: { type: "text" },
      full_report_text: { type: "text" },
      organization_id: { type: "uuid" },
      created_at: { type: "timestamp with time zone" },
    },
  },
  improvement_proposals: {
    columns: {
      id: { type: "uuid" },
      agent_id: { type: "uuid", references: "agent_registry" },
      evaluation_report_id: { type: "uuid", references: "evaluation_reports" },
      proposal_type: {
        type: "text",
        notNull: true,
        values: [
          "prompt_change",
          "tool_addition",
          "tool_removal",
          "config_change",
          "architecture_change",
        ],
      },
      title: { type: "text", notNull: true },
      description: { type: "text", notNull: true },
      rationale: { type: "text", notNull: true },
      current_state: { type: "jsonb" },
      proposed_state: { type: "jsonb" },
      diff_summary: { type: "text" },
      expected_improvement: { type: "text" },
      expected_metrics_change: { type: "jsonb" },
      risk_assessment: { type: "text" },
      rollback_plan: { type: "text" },
      status: {
        type: "text",
        default: "'proposed'::text",
        values: ["proposed", "approved", "rejected", "testing", "deployed", "rolled_back"],
      },
      priority: {
        type: "text",
        default: "'medium'::text",
        values: ["low", "medium", "high", "critical"],
      },
      requires_human_approval: { type: "boolean", default: "true" },
      approved_by: { type: "text" },
      approved_at: { type: "timestamp with time zone" },
      rejection_reason: { type: "text" },
      deployed_at: { type: "timestamp with time zone" },
      deployed_prompt_version_id: { type: "uuid", references: "agent_prompts" },
      organization_id: { type: "uuid" },
      created_at: { type: "timestamp with time zone" },
      updated_at: { type: "timestamp with time zone" },
    },
  },
  ab_tests: {
    columns: {
      id: { type: "uuid" },
      agent_id: { type: "uuid", references: "agent_registry" },
      improvement_proposal_id: { type: "uuid", references: "improvement_proposals" },
      test_name: { type: "text", notNull: true },
      hypothesis: { type: "text", notNull: true },
      control_prompt_id: { type: "uuid", references: "agent_prompts", notNull: true },
      treatment_prompt_id: { type: "uuid", references: "agent_prompts", notNull: true },
      traffic_split: { type: "numeric", default: "0.50" },
      start_date: { type: "timestamp with time zone", notNull: true },
      end_date: { type: "timestamp with time zone" },
      min_sample_size: { type: "integer", default: "100" },
      status: {
        type: "text",
        default: "'running'::text",
        values: ["pending", "running", "completed", "stopped"],
      },
      control_executions: { type: "integer", default: "0" },
      treatment_executions: { type: "integer", default: "0" },
      control_success_rate: { type: "numeric" },
      treatment_success_rate: { type: "numeric" },
      control_avg_quality: { type: "numeric" },
      treatment_avg_quality: { type: "numeric" },
      statistical_significance: { type: "numeric" },
      winner: { type: "text", values: ["control", "treatment", "inconclusive"] },
      conclusion_summary: { type: "text" },
      organization_id: { type: "uuid" },
      created_at: { type: "timestamp with time zone" },
      updated_at: { type: "timestamp with time zone" },
    },
  },

  // 1.4 Safety and testing
  shadow_tests: {
    columns: {
      id: { type: "uuid" },
      agent_id: { type: "uuid", references: "agent_registry" },
      production_prompt_id: { type: "uuid", references: "agent_prompts" },
      shadow_prompt_id: { type: "uuid", references: "agent_prompts" },
      sample_rate: { type: "numeric", default: "0.10" },
      start_date: { type: "timestamp with time zone", notNull: true },
      end_date: { type: "timestamp with time zone" },
      min_sample_size: { type: "integer", default: "100" },
      status: {
        type: "text",
        default: "'running'::text",
        values: ["pending", "running", "completed", "stopped"],
      },
      production_success_rate: { type: "numeric" },
      shadow_success_rate: { type: "numeric" },
      production_avg_quality: { type: "numeric" },
      shadow_avg_quality: { type: "numeric" },
      output_similarity_score: { type: "numeric" },
      recommendation: { type: "text" },
      organization_id: { type: "uuid" },
      created_at: { type: "timestamp with time zone" },
    },
  },
  canary_deployments: {
    columns: {
      id: { type: "uuid" },
      agent_id: { type: "uuid", references: "agent_registry" },
      current_prompt_id: { type: "uuid", references: "agent_prompts" },
      canary_prompt_id: { type: "uuid", references: "agent_prompts" },
      current_stage: { type: "integer", default: "1" },
      stages: { type: "jsonb", notNull: true },
      rollback_on_error_rate: { type: "numeric", default: "0.10" },
      rollback_on_latency_increase: { type: "numeric", default: "0.50" },
      rollback_on_quality_decrease: { type: "numeric", default: "0.10" },
      status: {
        type: "text",
        default: "'running'::text",
        values: ["pending", "running", "completed", "rolled_back", "paused"],
      },
      stage_metrics: { type: "jsonb" },
      started_at: { type: "timestamp with time zone" },
      completed_at: { type: "timestamp with time zone" },
      rolled_back_at: { type: "timestamp with time zone" },
      rollback_reason: { type: "text" },
      organization_id: { type: "uuid" },
    },
  },
  alert_history: {
    columns: {
      id: { type: "uuid" },
      agent_id: { type: "uuid", references: "agent_registry" },
      alert_type: { type: "text", notNull: true },
      severity: {
        type: "text",
        notNull: true,
        values: ["info", "warning", "critical", "emergency"],
      },
      title: { type: "text", notNull: true },
      message: { type: "text", notNull: true },
      details: { type: "jsonb" },
      slack_sent: { type: "boolean", default: "false" },
      slack_sent_at: { type: "timestamp with time zone" },
      email_sent: { type: "boolean", default: "false" },
      email_sent_at: { type: "timestamp with time zone" },
      clickup_task_id: { type: "text" },
      acknowledged: { type: "boolean", default: "false" },
      acknowledged_by: { type: "text" },
      acknowledged_at: { type: "timestamp with time zone" },
      resolved: { type: "boolean", default: "false" },
      resolved_by: { type: "text" },
      resolved_at: { type: "timestamp with time zone" },
      resolution_notes: { type: "text" },
      organization_id: { type: "uuid" },
      created_at: { type: "timestamp with time zone" },
    },
  },

  // 1.5 Learning and cost
  learning_log: {
    columns: {
      id: { type: "uuid" },
      agent_id: { type: "uuid", references: "agent_registry" },
      related_proposal_id: { type: "uuid", references: "improvement_proposals" },
      related_ab_test_id: { type: "uuid", references: "ab_tests" },
      learning_type: {
        type: "text",
        notNull: true,
        values: ["success_pattern", "failure_pattern", "optimization", "anti_pattern"],
      },
      title: { type: "text", notNull: true },
      description: { type: "text", notNull: true },
      evidence: { type: "jsonb" },
      confidence_level: { type: "text", values: ["low", "medium", "high", "proven"] },
      applicable_to: { type: "text[]" },
      is_active: { type: "boolean", default: "true" },
      superseded_by: { type: "uuid", references: "learning_log" },
      organization_id: { type: "uuid" },
      created_at: { type: "timestamp with time zone" },
    },
  },
  prompt_library: {
    columns: {
      id: { type: "uuid" },
      name: { type: "text", unique: true, notNull: true },
      category: {
        type: "text",
        notNull: true,
        values: ["system_instruction", "output_format", "error_handling", "tool_usage", "persona"],
      },
      tags: { type: "text[]" },
      content: { type: "text", notNull: true },
      description: { type: "text" },
      usage_examples: { type: "jsonb" },
      times_used: { type: "integer", default: "0" },
      avg_quality_when_used: { type: "numeric" },
      version: { type: "text", default: "'1.0.0'::text" },
      is_active: { type: "boolean", default: "true" },
      organization_id: { type: "uuid" },
      created_at: { type: "timestamp with time zone" },
      created_by: { type: "text" },
    },
  },
  prompt_library_usage: {
    columns: {
      id: { type: "uuid" },
      prompt_id: { type: "uuid", references: "agent_prompts" },
      library_component_id: { type: "uuid", references: "prompt_library" },
    },
    unique: [["prompt_id", "library_component_id"]],
  },
  agent_slas: {
    columns: {
      id: { type: "uuid" },
      agent_id: { type: "uuid", references: "agent_registry" },
      target_availability: { type: "numeric", default: "0.9990" },
      target_p50_latency_ms: { type: "integer" },
      target_p95_latency_ms: { type: "integer" },
      target_p99_latency_ms: { type: "integer" },
      target_success_rate: { type: "numeric", default: "0.9500" },
      target_quality_score: { type: "numeric", default: "80.00" },
      measurement_window: { type: "text", default: "'rolling_30d'::text" },
      is_active: { type: "boolean", default: "true" },
      organization_id: { type: "uuid" },
      created_at: { type: "timestamp with time zone" },
    },
  },
  sla_compliance: {
    columns: {
      id: { type: "uuid" },
      agent_id: { type: "uuid", references: "agent_registry" },
      sla_id: { type: "uuid", references: "agent_slas" },
      period_start: { type: "date", notNull: true },
      period_end: { type: "date", notNull: true },
      actual_availability: { type: "numeric" },
      actual_p50_latency_ms: { type: "integer" },
      actual_p95_latency_ms: { type: "integer" },
      actual_p99_latency_ms: { type: "integer" },
      actual_success_rate: { type: "numeric" },
      actual_quality_score: { type: "numeric" },
      availability_met: { type: "boolean" },
      latency_met: { type: "boolean" },
      success_rate_met: { type: "boolean" },
      quality_met: { type: "boolean" },
      overall_compliant: { type: "boolean" },
      breach_minutes: { type: "integer", default: "0" },
      breach_details: { type: "jsonb" },
      organization_id: { type: "uuid" },
      created_at: { type: "timestamp with time zone" },
    },
    unique: [["agent_id", "period_start", "period_end"]],
  },
  cost_budgets: {
    columns: {
      id: { type: "uuid" },
      organization_id: { type: "uuid" },
      agent_id: { type: "uuid", references: "agent_registry" },
      daily_budget_usd: { type: "numeric" },
      weekly_budget_usd: { type: "numeric" },
      monthly_budget_usd: { type: "numeric" },
      current_daily_spend: { type: "numeric", default: "0" },
      current_weekly_spend: { type: "numeric", default: "0" },
      current_monthly_spend: { type: "numeric", default: "0" },
      on_daily_exceeded: {
        type: "text",
        values: ["alert", "throttle", "pause", "downgrade_model"],
      },
      on_weekly_exceeded: {
        type: "text",
        values: ["alert", "throttle", "pause", "downgrade_model"],
      },
      on_monthly_exceeded: {
        type: "text",
        values: ["alert", "throttle", "pause", "downgrade_model"],
      },
      alert_at_percentage: { type: "numeric", default: "80.00" },
      updated_at: { type: "timestamp with time zone" },
    },
  },
  model_routing_rules: {
    columns: {
      id: { type: "uuid" },
      agent_id: { type: "uuid", references: "agent_registry" },
      condition_type: { type: "text", notNull: true },
      condition_operator: { type: "text", notNull: true },
      condition_value: { type: "jsonb", notNull: true },
      target_model: { type: "text", notNull: true },
      fallback_model: { type: "text" },
      priority: { type: "integer", default: "100" },
      is_active: { type: "boolean", default: "true" },
      organization_id: { type: "uuid" },
      created_at: { type: "timestamp with time zone" },
    },
  },
  agent_dependencies: {
    columns: {
      id: { type: "uuid" },
      upstream_agent_id: { type: "uuid", references: "agent_registry" },
      downstream_agent_id: { type: "uuid", references: "agent_registry" },
      dependency_type: {
        type: "text",
        notNull: true,
        values: ["data", "trigger", "approval", "context"],
      },
      is_critical: { type: "boolean", default: "false" },
      organization_id: { type: "uuid" },
      created_at: { type: "timestamp with time zone" },
    },
    unique: [["upstream_agent_id", "downstream_agent_id"]],
  },

  // 1.6 Embeddings: the one table that the seed writes in SQL
  execution_embeddings: {
    columns: {
      id: { type: "uuid", default: "gen_random_uuid()" },
      execution_log_id: { type: "uuid", references: "agent_execution_logs" },
      input_embedding: { type: "vector(1536)" },
      output_embedding: { type: "vector(1536)" },
      error_embedding: { type: "vector(1536)" },
      organization_id: { type: "uuid" },
      created_at: { type: "timestamp with time zone", default: "now()" },
    },
  },
};

/** Index name and the statement that the seed gives for it, literally, in the seed's order. */
export const SEED_INDEXES: Record<string, string> = {
  // 1.6
  idx_input_embedding: `CREATE INDEX idx_input_embedding ON execution_embeddings
    USING ivfflat (input_embedding vector_cosine_ops) WITH (lists = 100);`,
  idx_error_embedding: `CREATE INDEX idx_error_embedding ON execution_embeddings
    USING ivfflat (error_embedding vector_cosine_ops) WITH (lists = 100);`,

  // 1.7
  idx_prompts_agent_active:
    "CREATE INDEX idx_prompts_agent_active ON agent_prompts(agent_id, is_active) WHERE is_active = TRUE;",
  idx_logs_agent_timestamp:
    "CREATE INDEX idx_logs_agent_timestamp ON agent_execution_logs(agent_id, timestamp DESC);",
  idx_logs_execution: "CREATE INDEX idx_logs_execution ON agent_execution_logs(execution_id);",
  idx_logs_status_failure:
    "CREATE INDEX idx_logs_status_failure ON agent_execution_logs(status) WHERE status = 'failure';",
  idx_logs_quality:
    "CREATE INDEX idx_logs_quality ON agent_execution_logs(agent_id, quality_score) WHERE quality_score IS NOT NULL;",
  idx_logs_org_timestamp:
    "CREATE INDEX idx_logs_org_timestamp ON agent_execution_logs(organization_id, timestamp DESC);",
  idx_metrics_agent_date:
    "CREATE INDEX idx_metrics_agent_date ON agent_performance_metrics(agent_id, date DESC);",
  idx_reports_agent_date:
    "CREATE INDEX idx_reports_agent_date ON evaluation_reports(agent_id, report_date DESC);",
  idx_proposals_agent_status:
    "CREATE INDEX idx_proposals_agent_status ON improvement_proposals(agent_id, status);",
  idx_proposals_pending:
    "CREATE INDEX idx_proposals_pending ON improvement_proposals(status) WHERE status = 'proposed';",
  idx_ab_tests_running:
    "CREATE INDEX idx_ab_tests_running ON ab_tests(status) WHERE status = 'running';",
  idx_shadow_tests_running:
    "CREATE INDEX idx_shadow_tests_running ON shadow_tests(status) WHERE status = 'running';",
  idx_canary_running:
    "CREATE INDEX idx_canary_running ON canary_deployments(status) WHERE status = 'running';",
  idx_alerts_unresolved:
    "CREATE INDEX idx_alerts_unresolved ON alert_history(resolved, created_at DESC) WHERE resolved = FALSE;",
  idx_alerts_agent: "CREATE INDEX idx_alerts_agent ON alert_history(agent_id, created_at DESC);",
  idx_health_realtime_agent:
    "CREATE INDEX idx_health_realtime_agent ON agent_health_realtime(agent_id);",
  idx_sla_compliance_period:
    "CREATE INDEX idx_sla_compliance_period ON sla_compliance(agent_id, period_start DESC);",
  idx_cost_budgets_org: "CREATE INDEX idx_cost_budgets_org ON cost_budgets(organization_id);",
  idx_learning_applicable:
    "CREATE INDEX idx_learning_applicable ON learning_log USING GIN(applicable_to);",
};

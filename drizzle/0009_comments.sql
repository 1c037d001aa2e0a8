-- What each table is and the unit of each column that has one, for whoever reads the database without
-- the TypeScript. One statement a table.
DO $$ BEGIN
  COMMENT ON TABLE ab_tests IS 'A controlled experiment: two prompt versions of one agent share its traffic.';
  COMMENT ON COLUMN ab_tests.traffic_split IS 'Ratio, 0 to 1.';
  COMMENT ON COLUMN ab_tests.min_sample_size IS 'Count.';
  COMMENT ON COLUMN ab_tests.control_executions IS 'Count.';
  COMMENT ON COLUMN ab_tests.treatment_executions IS 'Count.';
  COMMENT ON COLUMN ab_tests.control_success_rate IS 'Ratio, 0 to 1.';
  COMMENT ON COLUMN ab_tests.treatment_success_rate IS 'Ratio, 0 to 1.';
  COMMENT ON COLUMN ab_tests.control_avg_quality IS 'Percent, 0 to 100.';
  COMMENT ON COLUMN ab_tests.treatment_avg_quality IS 'Percent, 0 to 100.';
  COMMENT ON COLUMN ab_tests.statistical_significance IS 'Ratio, 0 to 1.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE agent_dependencies IS 'The downstream agent needs something of the upstream agent.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE agent_execution_logs IS 'One action of one execution; the rows that share (agent_id, execution_id) are one execution.';
  COMMENT ON COLUMN agent_execution_logs.latency_ms IS 'Milliseconds.';
  COMMENT ON COLUMN agent_execution_logs.token_count_input IS 'Tokens.';
  COMMENT ON COLUMN agent_execution_logs.token_count_output IS 'Tokens.';
  COMMENT ON COLUMN agent_execution_logs.estimated_cost_usd IS 'US dollars.';
  COMMENT ON COLUMN agent_execution_logs.quality_score IS 'Percent, 0 to 100.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE agent_health_realtime IS 'The latest health snapshot of an agent, one row each, over windows of 5 minutes and 1 hour.';
  COMMENT ON COLUMN agent_health_realtime.executions_5m IS 'Count.';
  COMMENT ON COLUMN agent_health_realtime.failures_5m IS 'Count.';
  COMMENT ON COLUMN agent_health_realtime.avg_latency_5m IS 'Milliseconds.';
  COMMENT ON COLUMN agent_health_realtime.error_rate_5m IS 'Ratio, 0 to 1.';
  COMMENT ON COLUMN agent_health_realtime.executions_1h IS 'Count.';
  COMMENT ON COLUMN agent_health_realtime.failures_1h IS 'Count.';
  COMMENT ON COLUMN agent_health_realtime.avg_latency_1h IS 'Milliseconds.';
  COMMENT ON COLUMN agent_health_realtime.error_rate_1h IS 'Ratio, 0 to 1.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE agent_performance_metrics IS 'One agent''s day (UTC), per prompt version and once for the logs that name none. Computed from the logs.';
  COMMENT ON COLUMN agent_performance_metrics.total_executions IS 'Count.';
  COMMENT ON COLUMN agent_performance_metrics.successful_executions IS 'Count.';
  COMMENT ON COLUMN agent_performance_metrics.failed_executions IS 'Count.';
  COMMENT ON COLUMN agent_performance_metrics.timeout_executions IS 'Count.';
  COMMENT ON COLUMN agent_performance_metrics.avg_latency_ms IS 'Milliseconds.';
  COMMENT ON COLUMN agent_performance_metrics.p50_latency_ms IS 'Milliseconds.';
  COMMENT ON COLUMN agent_performance_metrics.p95_latency_ms IS 'Milliseconds.';
  COMMENT ON COLUMN agent_performance_metrics.p99_latency_ms IS 'Milliseconds.';
  COMMENT ON COLUMN agent_performance_metrics.total_cost_usd IS 'US dollars.';
  COMMENT ON COLUMN agent_performance_metrics.cost_per_execution IS 'US dollars.';
  COMMENT ON COLUMN agent_performance_metrics.total_tokens_input IS 'Tokens.';
  COMMENT ON COLUMN agent_performance_metrics.total_tokens_output IS 'Tokens.';
  COMMENT ON COLUMN agent_performance_metrics.avg_quality_score IS 'Percent, 0 to 100.';
  COMMENT ON COLUMN agent_performance_metrics.human_interventions IS 'Count.';
  COMMENT ON COLUMN agent_performance_metrics.unique_error_types IS 'Count.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE agent_prompts IS 'One version of an agent''s prompt with all that a run needs. At most one is active and one the baseline.';
  COMMENT ON COLUMN agent_prompts.temperature IS 'Sampling temperature, 0 to 2. NULL: the model''s own.';
  COMMENT ON COLUMN agent_prompts.max_tokens IS 'Tokens. NULL: no such limit.';
  COMMENT ON COLUMN agent_prompts.total_executions IS 'Count.';
  COMMENT ON COLUMN agent_prompts.successful_executions IS 'Count.';
  COMMENT ON COLUMN agent_prompts.avg_quality_score IS 'Percent, 0 to 100.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE agent_registry IS 'One AI agent. agent_name is unique across all organizations.';
  COMMENT ON COLUMN agent_registry.target_success_rate IS 'Percent, 0 to 100. NULL: no target.';
  COMMENT ON COLUMN agent_registry.target_avg_latency_ms IS 'Milliseconds. NULL: no target.';
  COMMENT ON COLUMN agent_registry.target_cost_per_execution IS 'US dollars. NULL: no target.';
  COMMENT ON COLUMN agent_registry.current_health_score IS 'Percent, 0 to 100.';
  COMMENT ON COLUMN agent_registry.consecutive_failures IS 'Count.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE agent_slas IS 'A promise about one agent''s service, measured over a rolling window.';
  COMMENT ON COLUMN agent_slas.target_availability IS 'Ratio, 0 to 1. NULL: not promised.';
  COMMENT ON COLUMN agent_slas.target_p50_latency_ms IS 'Milliseconds. NULL: not promised.';
  COMMENT ON COLUMN agent_slas.target_p95_latency_ms IS 'Milliseconds. NULL: not promised.';
  COMMENT ON COLUMN agent_slas.target_p99_latency_ms IS 'Milliseconds. NULL: not promised.';
  COMMENT ON COLUMN agent_slas.target_success_rate IS 'Ratio, 0 to 1. NULL: not promised.';
  COMMENT ON COLUMN agent_slas.target_quality_score IS 'Percent, 0 to 100. NULL: not promised.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE alert_history IS 'An alert, where it was sent, and who dealt with it. Without an agent it is of the organization.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE canary_deployments IS 'A gradual rollout of a prompt version, rolled back when it does worse than the current one.';
  COMMENT ON COLUMN canary_deployments.current_stage IS 'Position, from 1.';
  COMMENT ON COLUMN canary_deployments.rollback_on_error_rate IS 'Ratio, 0 to 1. NULL: never for this reason.';
  COMMENT ON COLUMN canary_deployments.rollback_on_latency_increase IS 'Relative increase, 0 to 1000. NULL: never for this reason.';
  COMMENT ON COLUMN canary_deployments.rollback_on_quality_decrease IS 'Ratio, 0 to 1. NULL: never for this reason.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE circuit_breaker_state IS 'The circuit breaker of an agent, one row each.';
  COMMENT ON COLUMN circuit_breaker_state.failure_count IS 'Count.';
  COMMENT ON COLUMN circuit_breaker_state.success_count IS 'Count.';
  COMMENT ON COLUMN circuit_breaker_state.failure_threshold IS 'Count.';
  COMMENT ON COLUMN circuit_breaker_state.success_threshold IS 'Count.';
  COMMENT ON COLUMN circuit_breaker_state.cooldown_seconds IS 'Seconds.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE cost_budgets IS 'What an agent, or without one the whole organization, may spend, and what it has spent.';
  COMMENT ON COLUMN cost_budgets.daily_budget_usd IS 'US dollars. NULL: no limit.';
  COMMENT ON COLUMN cost_budgets.weekly_budget_usd IS 'US dollars. NULL: no limit.';
  COMMENT ON COLUMN cost_budgets.monthly_budget_usd IS 'US dollars. NULL: no limit.';
  COMMENT ON COLUMN cost_budgets.current_daily_spend IS 'US dollars.';
  COMMENT ON COLUMN cost_budgets.current_weekly_spend IS 'US dollars.';
  COMMENT ON COLUMN cost_budgets.current_monthly_spend IS 'US dollars.';
  COMMENT ON COLUMN cost_budgets.alert_at_percentage IS 'Percent, 0 to 100. NULL: no early alert.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE evaluation_reports IS 'An AI-written evaluation of one agent over a period of days.';
  COMMENT ON COLUMN evaluation_reports.overall_score IS 'Percent, 0 to 100.';
  COMMENT ON COLUMN evaluation_reports.reliability_score IS 'Percent, 0 to 100.';
  COMMENT ON COLUMN evaluation_reports.efficiency_score IS 'Percent, 0 to 100.';
  COMMENT ON COLUMN evaluation_reports.cost_efficiency_score IS 'Percent, 0 to 100.';
  COMMENT ON COLUMN evaluation_reports.quality_score IS 'Percent, 0 to 100.';
  COMMENT ON COLUMN evaluation_reports.score_change_vs_previous IS 'Percentage points, -100 to 100.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE execution_embeddings IS 'The vectors of one log row, at least one of the three.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE improvement_proposals IS 'A suggested change to an agent, from proposal through approval and test to deployment.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE learning_log IS 'Something the organization learnt about its agents, replaced rather than edited.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE model_routing_rules IS 'Which model answers when a condition holds. Without an agent it is a rule of the organization.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE prompt_library IS 'A reusable part of prompts. name is unique across all organizations.';
  COMMENT ON COLUMN prompt_library.times_used IS 'Count.';
  COMMENT ON COLUMN prompt_library.avg_quality_when_used IS 'Percent, 0 to 100.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE prompt_library_usage IS 'Which prompt version uses which component. Belongs to its prompt''s organization.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE shadow_tests IS 'A prompt version that answers a sample of the traffic in parallel; nobody sees its answers.';
  COMMENT ON COLUMN shadow_tests.sample_rate IS 'Ratio, 0 to 1.';
  COMMENT ON COLUMN shadow_tests.min_sample_size IS 'Count.';
  COMMENT ON COLUMN shadow_tests.production_success_rate IS 'Ratio, 0 to 1.';
  COMMENT ON COLUMN shadow_tests.shadow_success_rate IS 'Ratio, 0 to 1.';
  COMMENT ON COLUMN shadow_tests.production_avg_quality IS 'Percent, 0 to 100.';
  COMMENT ON COLUMN shadow_tests.shadow_avg_quality IS 'Percent, 0 to 100.';
  COMMENT ON COLUMN shadow_tests.output_similarity_score IS 'Ratio, 0 to 1.';
END $$;
--> statement-breakpoint
DO $$ BEGIN
  COMMENT ON TABLE sla_compliance IS 'What was measured against an SLA over one period of days.';
  COMMENT ON COLUMN sla_compliance.actual_availability IS 'Ratio, 0 to 1.';
  COMMENT ON COLUMN sla_compliance.actual_p50_latency_ms IS 'Milliseconds.';
  COMMENT ON COLUMN sla_compliance.actual_p95_latency_ms IS 'Milliseconds.';
  COMMENT ON COLUMN sla_compliance.actual_p99_latency_ms IS 'Milliseconds.';
  COMMENT ON COLUMN sla_compliance.actual_success_rate IS 'Ratio, 0 to 1.';
  COMMENT ON COLUMN sla_compliance.actual_quality_score IS 'Percent, 0 to 100.';
  COMMENT ON COLUMN sla_compliance.breach_minutes IS 'Minutes.';
END $$;

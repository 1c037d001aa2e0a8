-- `updated_at` is kept by the database on the four tables that have it, whoever writes.
CREATE OR REPLACE FUNCTION meta_agent.touch_updated_at() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  NEW.updated_at := now();
  RETURN NEW;
END $$;
--> statement-breakpoint
REVOKE ALL ON FUNCTION meta_agent.touch_updated_at() FROM PUBLIC, anon, authenticated, service_role;
--> statement-breakpoint
CREATE OR REPLACE TRIGGER agent_registry_updated_at BEFORE UPDATE ON agent_registry
  FOR EACH ROW EXECUTE FUNCTION meta_agent.touch_updated_at();
--> statement-breakpoint
CREATE OR REPLACE TRIGGER improvement_proposals_updated_at BEFORE UPDATE ON improvement_proposals
  FOR EACH ROW EXECUTE FUNCTION meta_agent.touch_updated_at();
--> statement-breakpoint
CREATE OR REPLACE TRIGGER ab_tests_updated_at BEFORE UPDATE ON ab_tests
  FOR EACH ROW EXECUTE FUNCTION meta_agent.touch_updated_at();
--> statement-breakpoint
CREATE OR REPLACE TRIGGER cost_budgets_updated_at BEFORE UPDATE ON cost_budgets
  FOR EACH ROW EXECUTE FUNCTION meta_agent.touch_updated_at();

/** Which model answers: the first routing rule whose condition holds. */
import { type SQL, sql } from "drizzle-orm";
import * as z from "zod";
import type { Executor } from "../client/sql.ts";
import { agentRegistry } from "../schema/index.ts";
import { answered } from "../validation/refusals.ts";
import { lazy } from "../validation/lazy.ts";
import { parsed } from "../validation/refused.ts";
import { validators } from "../validation/validators.ts";
import type { RoutingOperator } from "../values.ts";

/** A call that is to be routed. */
export interface RoutedCall {
  readonly agentId: string;
  /** What rules are asked of it, by their `condition_type`: `{ token_count: 9000, language: "de" }`. */
  readonly context: Readonly<Record<string, string | number>>;
}

/** The rule that decides. */
export interface Route {
  readonly ruleId: string;
  readonly targetModel: string;
  /** NULL: none. */
  readonly fallbackModel: string | null;
}

const call = lazy(() =>
  z.strictObject({
    agentId: validators(agentRegistry).select.shape.id,
    context: z.record(z.string(), z.union([z.string(), z.number()])),
  }),
);

const IS_ORDERED = sql`jsonb_typeof(given) = 'number' and jsonb_typeof(wanted) = 'number'`;
const IS_ALIKE = sql`jsonb_typeof(given) = jsonb_typeof(wanted)`;
const IS_LISTED = sql`jsonb_typeof(wanted) = 'array' and wanted @> given`;

/** When a condition holds. JSON compares by type, and no value is cast, so that none can fail. */
const CONDITIONS: Readonly<Record<RoutingOperator, SQL>> = {
  "=": sql`given = wanted`,
  "!=": sql`${IS_ALIKE} and given <> wanted`,
  "<": sql`${IS_ORDERED} and given < wanted`,
  "<=": sql`${IS_ORDERED} and given <= wanted`,
  ">": sql`${IS_ORDERED} and given > wanted`,
  ">=": sql`${IS_ORDERED} and given >= wanted`,
  in: sql`${IS_LISTED}`,
  not_in: sql`jsonb_typeof(wanted) = 'array' and not (${IS_LISTED})`,
  between: sql`jsonb_typeof(given) = 'number' and jsonb_array_length(case jsonb_typeof(wanted) when 'array' then wanted else '[]' end) = 2
    and jsonb_typeof(wanted -> 0) = 'number' and jsonb_typeof(wanted -> 1) = 'number'
    and given >= wanted -> 0 and given <= wanted -> 1`,
};

const HOLDS = sql`case condition_operator ${sql.join(
  Object.entries(CONDITIONS).map(
    ([operator, holds]) => sql`when ${sql.raw(`'${operator}'`)} then ${holds}`,
  ),
  sql` `,
)} else false end`;

/**
 * The model for a call of an agent, by its active rules and those of its organization without an agent: the first
 * whose condition holds. The agent's come before the organization's, of these the lowest `priority` first, then
 * the oldest. It only reads.
 *
 * `condition_operator` is one of `ROUTING_OPERATORS`. Numbers and texts are never compared with each other: order
 * (`<`, `between`, both ends included) is of numbers, `in` and `not_in` need a list. A rule of another operator, of
 * a value that does not fit it, or of what the context does not say, does not apply.
 * @example
 * const route = await routeModel(tx, { agentId, context: { token_count: 9000, language: "de" } });
 * const model = route?.targetModel ?? "the usual one";
 * @returns `null` where no rule applies
 * @throws {z.ZodError} for a call that is none
 * @throws {Error} when there is no such agent, or the caller does not see it
 */
export async function routeModel(tx: Executor, routed: RoutedCall): Promise<Route | null> {
  const { agentId, context } = parsed(call, routed);
  const [found] = await answered<{ route: Route | null }>(
    tx,
    sql`
    select (
      select json_build_object('ruleId', id, 'targetModel', target_model, 'fallbackModel', fallback_model)
      from (
        select rule.*, ${JSON.stringify(context)}::text::jsonb -> condition_type as given, condition_value as wanted
        from public.model_routing_rules as rule
        where is_active and (rule.agent_id = agent.id
          or rule.agent_id is null and rule.organization_id is not distinct from agent.organization_id)
      ) as asked
      where given is not null and ${HOLDS}
      order by agent_id is null, priority, created_at, id limit 1
    ) as route
    from public.agent_registry as agent where id = ${agentId}`,
  );
  if (!found) throw new Error(`routeModel: no agent ${agentId}, or it is not this caller's`);
  return found.route;
}

/** Checks of the rows themselves; the deep ones read whole tables. */
import { type SQL, getTableName, sql } from "drizzle-orm";
import { rows } from "../../client/sql.ts";
import { hasAll, liveTypes, tenantReferencesOf } from "../adopt/violations.ts";
import { TABLES } from "../../schema/all.ts";
import { ALERT_CHANNELS } from "../../values.ts";
import { type Check, checkOf, count, error, info, ours, warning } from "./check.ts";

export const platform = checkOf<{ counts: string[] }>(
  "platform rows",
  () => sql`select array(
    select name || ' ' || least(rows, 10000) || case when rows > 10000 then ' or more' else '' end
    from (${eachTable(
      (table) => sql`select ${table}::text as name, (select count(*) from (
      select from public.${sql.identifier(table)} where organization_id is null limit 10001) as capped) as rows`,
    )}) as counted
    where rows > 0 order by rows desc, name) as counts`,
  ({ counts }) =>
    counts.length === 0
      ? []
      : [
          info(
            `rows of no organization, which no tenant sees: ${counts.join(", ")}`,
            "Nothing, if they are the platform's. A backend that inserts names the organization: withServiceRole has none of its own.",
          ),
        ],
  { owner: true },
);

/** One query over every table that has an organization. */
function eachTable(query: (table: string) => SQL): SQL {
  const tenant = TABLES.filter((table) => "organizationId" in table);
  return sql.join(
    tenant.map((table) => query(getTableName(table))),
    sql` union all `,
  );
}

type CrossedRow = { reference: string; crossed: number; half: number; query: string };

/** Every reference between rows that have an organization. */
export const crossed: Check = {
  name: "tenancy",
  deep: true,
  owner: true,
  run: async (db) => {
    const live = await liveTypes(db);
    const references = TABLES.flatMap(tenantReferencesOf).filter(({ reads }) =>
      hasAll(live, reads),
    );
    const counts = references.map(({ name, table, joins, organization }) => {
      const source = `from public.${table} ${joins}`;
      const isCrossed = `${organization} is distinct from parent.organization_id`;
      return sql`
        select ${name}::text as reference,
          count(*) filter (where ${sql.raw(organization)} <> parent.organization_id)::int as crossed,
          count(*) filter (where (${sql.raw(organization)} is null) <> (parent.organization_id is null))::int as half,
          ${`SELECT ${table}.* ${source} WHERE ${isCrossed};`}::text as query
        ${sql.raw(source)} where ${sql.raw(isCrossed)}`;
    });
    return rows<CrossedRow>(await db.execute(sql.join(counts, sql` union all `))).flatMap(
      ({ reference, crossed: across, half, query }) => [
        ...(across > 0
          ? [
              error(
                `rows that refer to another organization's, by ${reference}: ${count(across)}`,
                query,
              ),
            ]
          : []),
        ...(half > 0
          ? [
              warning(
                `rows between the platform and an organization, by ${reference}: ${count(half)}`,
                query,
              ),
            ]
          : []),
      ],
    );
  },
};

const ENCLOSES = sql`action_type in ('agent_run', 'agent_step')`;

/** A sum that no longer fits is stored as the largest INTEGER. */
export const counters: Check = {
  name: "overflow",
  deep: true,
  owner: true,
  run: async (db) => {
    const found = await db.execute(sql`
      select name as table, array_agg(quote_ident(attname) order by attnum) as columns
      from ${ours} as ours join pg_attribute as a on a.attrelid = ours.oid
      where atttypid = 'int4'::regtype and attnum > 0 and not attisdropped group by name order by name`);
    const tables = rows<{ table: string; columns: string[] }>(found);
    const full = tables.map(({ table, columns }) => {
      const condition = columns.map((column) => `${column} = 2147483647`).join(" OR ");
      return sql`select count(*)::int as full, ${table}::text as table,
        ${`SELECT * FROM ${table} WHERE ${condition};`}::text as query
        from ${sql.raw(table)} where ${sql.raw(condition)}`;
    });
    const counted = await db.execute(sql.join(full, sql` union all `));
    return rows<{ full: number; table: string; query: string }>(counted).flatMap((row) =>
      row.full > 0
        ? [
            warning(
              `rows of ${row.table} that hold the largest INTEGER, so that the true value may be larger: ${count(row.full)}`,
              row.query,
            ),
          ]
        : [],
    );
  },
};

/** The rows that enclose others cost nothing themselves: sums of rows would count their calls twice. */
export const repeated = checkOf<{ agent: string; executions: number; example: string }>(
  "costs",
  () => sql`
    select agent_name as agent, count(*)::int as executions, min(execution_id::text) as example
    from (
      select agent_id, execution_id from public.agent_execution_logs
      where greatest(token_count_input, token_count_output, estimated_cost_usd) > 0
      group by agent_id, execution_id
      having bool_or(${ENCLOSES}) and not bool_and(${ENCLOSES})
    ) as execution
    join public.agent_registry as agent on agent.id = agent_id
    group by agent.id, agent_name
    order by executions desc, agent_name limit 20`,
  ({ agent, executions, example }) => [
    warning(
      `executions of ${agent} whose agent_run or agent_step rows have tokens or cost beside those of their calls, so that sums count them twice: ${count(executions)}, such as ${example}`,
      "Record tokens and cost on the call that caused them alone. To mend what is stored, set them to NULL on the rows that enclose calls, then roll up their days again.",
    ),
  ],
  { deep: true, owner: true },
);

/** Whose process has died, or has forgotten them: what they reserved is held, and nobody knows how they ended. */
export const running = checkOf<{ running: number; agents: number; since: string }>(
  "executions",
  () => sql`
    select count(*)::int as running, count(distinct agent_id)::int as agents,
      to_char(min(timestamp) at time zone 'UTC', 'YYYY-MM-DD HH24:MI UTC') as since
    from public.agent_execution_logs
    where status = 'running' and timestamp < now() - interval '1 day' having count(*) > 0`,
  ({ running: rowsThatRun, agents, since }) => [
    warning(
      `rows that have been running for more than a day: ${count(rowsThatRun)} of ${count(agents)} agents, since ${since}`,
      "Where none of them can run so long, have a job call expireExecutions.",
    ),
  ],
  { owner: true },
);

const WINDOWS = sql.raw(
  ["day", "week", "month"]
    .map((unit) => {
      const name = unit === "day" ? "daily" : `${unit}ly`;
      return `('${name}', date_trunc('${unit}', b.updated_at, 'UTC'), interval '1 ${unit}', b.current_${name}_spend)`;
    })
    .join(", "),
);

/** A counter is a cache of the log, as of the windows that its budget was last written in. */
export const budgets = checkOf<{ budgets: number; example: string }>(
  "budgets",
  () => sql`
    select count(distinct b.id)::int as budgets,
      (array_agg(b.id::text || ' ' || w.span || ': ' || w.counted || ', and ' || l.usd order by b.id, w.length))[1] as example
    from public.cost_budgets as b
    cross join lateral (values ${WINDOWS}) as w(span, since, length, counted)
    cross join lateral (
      select coalesce(sum(estimated_cost_usd), 0) as usd from (
        select * from public.agent_execution_logs where agent_id = b.agent_id
        union all
        select * from public.agent_execution_logs
        where b.agent_id is null and organization_id is not distinct from b.organization_id
      ) as log
      where timestamp >= w.since and timestamp < (w.since at time zone 'UTC' + w.length) at time zone 'UTC'
    ) as l
    where l.usd <> w.counted having count(*) > 0`,
  ({ budgets: drifted, example }) => [
    warning(
      `budgets whose counters differ from the costs in the log: ${count(drifted)}, such as ${example}`,
      "Record with charge, or have a job call refreshBudgets.",
    ),
  ],
  { deep: true, owner: true },
);

/** A probe reports or lapses; one that lapsed died, or nobody told what became of it. */
export const breakers = checkOf<{ agent: string; let_out: string }>(
  "breakers",
  () => sql`
    select agent_name as agent, to_char(half_open_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC') as let_out
    from public.circuit_breaker_state as breaker join public.agent_registry as agent on agent.id = agent_id
    where state = 'half_open' and (last_success_at >= half_open_at) is not true
      and half_open_at + make_interval(secs => greatest(cooldown_seconds, 1)) < clock_timestamp()
    order by half_open_at, agent_name limit 20`,
  ({ agent, let_out }) => [
    warning(
      `the circuit breaker of ${agent} is half open, and the probe that it let out at ${let_out} has lapsed without a report`,
      "The agent's next acquireExecution lets another probe out. See that whoever runs it reports with the ticket, by recordOutcome, whatever becomes of the execution, and that cooldown_seconds is longer than one takes.",
    ),
  ],
  { owner: true },
);

/** Who claims alerts and dies leaves them to others when the claim lapses; here nobody has come. */
export const unsent = checkOf<{ channel: string; alerts: number; since: string }>(
  "alerts",
  () => {
    const counts = ALERT_CHANNELS.map((channel) => {
      const [sent, sentAt] = [sql.raw(`${channel}_sent`), sql.raw(`${channel}_sent_at`)];
      return sql`
        select ${channel}::text as channel, count(*)::int as alerts,
          to_char(min(${sentAt}) at time zone 'UTC', 'YYYY-MM-DD HH24:MI UTC') as since
        from public.alert_history
        where not resolved and not ${sent} and ${sentAt} < now() - interval '1 hour' having count(*) > 0`;
    });
    return sql.join(counts, sql` union all `);
  },
  ({ channel, alerts, since }) => [
    warning(
      `open alerts that were claimed for ${channel} and never sent: ${count(alerts)}, since ${since}`,
      "See why their sender has stopped, and start it: claimAlerts gives them out again.",
    ),
  ],
  { owner: true },
);

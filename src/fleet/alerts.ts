/** Alerts: one row an incident, and each told by one sender at a time. */
import { type SQL, sql } from "drizzle-orm";
import * as z from "zod";
import { type Executor, columnList, isKey, textArray } from "../client/sql.ts";
import { type Alert, agentRegistry, alertHistory } from "../schema/index.ts";
import { anyJsonObject } from "../schema/shapes.ts";
import { lazy } from "../validation/lazy.ts";
import { answered } from "../validation/refusals.ts";
import { parsed } from "../validation/refused.ts";
import { validators } from "../validation/validators.ts";
import {
  ALERT_CHANNELS,
  ALERT_SEVERITIES,
  type AlertChannel,
  type AlertSeverity,
} from "../values.ts";

/** Whose alert: an agent's, or the whole organization's. */
export interface AlertSubject {
  /** The agent that it is about. Left out: the whole organization. */
  readonly agentId?: string | undefined;
  /**
   * Left out: the agent's organization, or without an agent the caller's. The service role has none: without an
   * agent it must give one.
   */
  readonly organizationId?: string | undefined;
}

/** What {@link raiseAlert} is told of. */
export interface Incident extends AlertSubject {
  /** What raises it, such as `failure_rate`: 1 to 255 characters. */
  readonly alertType: string;
  readonly severity: AlertSeverity;
  /** In one line. */
  readonly title: string;
  /** In a sentence or two, for who is woken by it. */
  readonly message: string;
  /** What was measured: a JSON object. */
  readonly details?: object | undefined;
  /** What makes it the same incident, 1 to 255 characters. Default: `alertType`. */
  readonly dedupKey?: string | undefined;
  /** When it is. Default: the database's clock. */
  readonly now?: Date | undefined;
}

/** What {@link raiseAlert} made of it. */
export interface RaisedAlert {
  readonly id: string;
  /** Whether no alert of this key was open. */
  readonly isNew: boolean;
  /** Count. How often it was raised since it is open. */
  readonly occurrences: number;
}

/** Which alerts a sender wants. */
export interface AlertClaim {
  /** By what it sends. */
  readonly channel: AlertChannel;
  /** At most so many, 1 to 1000. Default 100. */
  readonly limit?: number | undefined;
  /** Seconds until others are given what it has not sent, above 0, at most a day. Default 60. */
  readonly leaseSeconds?: number | undefined;
  /** None quieter than this. Default `info`. */
  readonly minSeverity?: AlertSeverity | undefined;
  /** When it is. Default: the database's clock. */
  readonly now?: Date | undefined;
}

/** An alert that was given to one sender. */
export interface ClaimedAlert extends Pick<
  Alert,
  | "id"
  | "organizationId"
  | "agentId"
  | "alertType"
  | "severity"
  | "title"
  | "message"
  | "details"
  | "createdAt"
> {
  /** Until when no other sender is given it. */
  readonly claimedUntil: Date;
}

/** What a sender has done with alerts that it had claimed. */
export interface ClaimedAlerts {
  readonly channel: AlertChannel;
  /** As `claimAlerts` gave them. */
  readonly alerts: readonly Pick<ClaimedAlert, "id" | "severity" | "claimedUntil">[];
  /** When it is. Default: the database's clock. */
  readonly now?: Date | undefined;
}

/** Alerts by their ids, or the open one of a key. */
export type AlertChoice =
  | { readonly ids: readonly string[] }
  | (AlertSubject & { readonly dedupKey: string });

/** The rows that `alert_history_open_key` is of: a subject has a key once among them. */
export const IS_OPEN_AND_KEYED = sql.raw(
  "not resolved and char_length(details ->> 'dedup_key') <= 255",
);

/** What {@link raiseAlert} writes into `details`. */
const OWN_DETAILS = ["dedup_key", "occurrences", "last_seen_at"];

const inputs = lazy(() => {
  const { shape } = validators(alertHistory).insert;
  // As long as a name: an index row has no room for any text.
  const { agentName: key } = validators(agentRegistry).insert.shape;
  const { id } = validators(alertHistory).select.shape;
  const when = { now: shape.createdAt };
  const subject = { agentId: id.optional(), organizationId: id.optional() };
  const channel = z.enum(ALERT_CHANNELS);
  return {
    incident: z.strictObject({
      ...subject,
      ...when,
      alertType: key,
      severity: shape.severity,
      title: shape.title,
      message: shape.message,
      details: anyJsonObject
        .refine((given) => !OWN_DETAILS.some((name) => Object.hasOwn(given, name)), {
          error: `expected none of ${OWN_DETAILS.join(", ")}: raiseAlert writes them, and takes dedupKey`,
        })
        .optional(),
      dedupKey: key.optional(),
    }),
    claim: z.strictObject({
      ...when,
      channel,
      limit: z.int().min(1).max(1000).default(100),
      leaseSeconds: z.number().positive().max(86_400).default(60),
      minSeverity: shape.severity.default("info"),
    }),
    claimed: z.strictObject({
      ...when,
      channel,
      alerts: z.array(z.object({ id, severity: shape.severity, claimedUntil: z.date() })),
    }),
    ids: z.strictObject({ ids: z.array(id) }),
    keyed: z.strictObject({ ...subject, dedupKey: key }),
    acknowledgement: z.strictObject({ ...when, by: shape.title }),
    resolution: z.strictObject({ ...when, by: shape.resolvedBy, notes: shape.resolutionNotes }),
  };
});

/**
 * Raises an alert. While an alert of the same agent, or of the organization, is open under this key, it is that
 * alert: `details.occurrences` counts it and `details.last_seen_at` says when, however many callers raise it at
 * once. Once it is resolved, the next is a new row.
 *
 * Severity only rises. The louder call's title, message and details are the alert's from then on, and it is sent
 * again by every channel, whether it was sent, or is being sent.
 *
 * It is one statement. Callers that raise several alerts in one transaction, in different orders, may wait for
 * each other: PostgreSQL ends one of them (40P01), and it may be tried again.
 * @example
 * const { isNew } = await raiseAlert(tx, {
 *   agentId, alertType: "failure_rate", severity: "critical",
 *   title: "Failure rate", message: "One in four executions fails.", details: { rate: 0.25 },
 * });
 * @throws {z.ZodError} for an incident that is none
 * @throws {Error} when there is no such agent, the caller does not see it, or without an agent there is no
 * organization: the service role must give it
 */
export async function raiseAlert(tx: Executor, incident: Incident): Promise<RaisedAlert> {
  const { now, agentId, organizationId, ...alert } = parsed(inputs.incident, incident);
  const { alertType, severity, title, message, details = {}, dedupKey = alertType } = alert;
  const subject = { agentId, organizationId };
  const [raised] = await answered<{ id: string; occurrences: number }>(
    tx,
    sql`
    insert into public.alert_history as alert
      (agent_id, organization_id, alert_type, severity, title, message, details, created_at)
    select agent_id, organization_id, ${alertType}, ${severity}, ${title}, ${message},
      ${JSON.stringify(details)}::text::jsonb || jsonb_build_object('dedup_key', ${dedupKey}::text, 'occurrences', 1, 'last_seen_at', at), at
    from ${subjectRow(subject)} as subject, (select ${instant(now)} as at offset 0) as clock
    on conflict (agent_id, (details ->> 'dedup_key'), organization_id) where ${IS_OPEN_AND_KEYED}
    do update set ${AGAIN}
      details = alert.details || case when ${RISES} then excluded.details else '{}' end
        || jsonb_build_object('occurrences', ${OCCURRENCES} + 1, 'last_seen_at', ${instant(now)})
    returning id, (details ->> 'occurrences')::int as occurrences`,
  );
  if (!raised) throw new Error(`raiseAlert: ${lacking(subject)}`);
  return { ...raised, isNew: raised.occurrences === 1 };
}

/**
 * Gives open alerts that this channel has not sent to one sender, the loudest first, of these the oldest. No other
 * is given them until `leaseSeconds` have passed; then what was not sent is given out again, as after a crash. So
 * an alert is sent **at least once**: a sender that dies between sending and {@link markAlertsSent} leaves one that
 * is sent twice. Commit before you send. As service role those of all organizations.
 *
 * While `slack_sent` is false, `slack_sent_at` says until when an alert is claimed; `email` likewise.
 * @example
 * const alerts = await withServiceRole(db, (tx) => claimAlerts(tx, { channel: "slack", leaseSeconds: 60 }));
 * for (const alert of alerts) {
 *   await post(alert); // in less than the lease
 *   await withServiceRole(db, (tx) => markAlertsSent(tx, { channel: "slack", alerts: [alert] }));
 * }
 * @throws {z.ZodError} for a claim that is none
 */
export async function claimAlerts(tx: Executor, claim: AlertClaim): Promise<ClaimedAlert[]> {
  const { channel, limit, leaseSeconds, minSeverity, now } = parsed(inputs.claim, claim);
  const { sent, sentAt } = columnsOf(channel);
  const loudEnough = ALERT_SEVERITIES.slice(ALERT_SEVERITIES.indexOf(minSeverity));
  const loudestFirst = sql`order by ${rank(sql`severity`)} desc, created_at, id`;
  const claimed = await answered<Row>(
    tx,
    sql`
    with due as materialized (
      select alert.*, clock.at from public.alert_history as alert, (select ${instant(now)} as at offset 0) as clock
      where not resolved and not ${sent} and (${sentAt} is null or ${sentAt} <= clock.at)
        and severity = any (${textArray(loudEnough)})
      ${loudestFirst} limit ${limit}
      for no key update of alert skip locked
    ), claimed as (
      ${updateOf("due")}
      set ${sentAt} = (select date_trunc('milliseconds', max(at) + make_interval(secs => ${leaseSeconds}::float8)) from due)
      returning alert.*
    )
    select id, organization_id as "organizationId", agent_id as "agentId", alert_type as "alertType", severity,
      title, message, details, ${milliseconds(sql`created_at`)} as "createdAt", ${milliseconds(sentAt)} as "claimedUntil"
    from claimed ${loudestFirst}`,
  );
  return claimed.map((row) => ({
    ...row,
    createdAt: new Date(row.createdAt),
    claimedUntil: new Date(row.claimedUntil),
  }));
}

/**
 * Says that claimed alerts were sent. One whose claim has lapsed and that another sender was given, or that was
 * raised louder since, is not marked: it is sent again.
 *
 * @returns how many are marked now
 * @throws {z.ZodError} for what `claimAlerts` did not give
 */
export async function markAlertsSent(tx: Executor, claimed: ClaimedAlerts): Promise<number> {
  return settle(
    tx,
    "markAlertsSent",
    claimed,
    ({ sent, sentAt }, at) => sql`${sent} = true, ${sentAt} = ${at}`,
  );
}

/**
 * Gives claimed alerts back before their claim lapses, for other senders or a later try. Those that another
 * sender was given meanwhile, or that were sent, stay as they are.
 *
 * @returns how many are free now
 * @throws {z.ZodError} for what `claimAlerts` did not give
 */
export async function releaseAlerts(tx: Executor, claimed: ClaimedAlerts): Promise<number> {
  return settle(tx, "releaseAlerts", claimed, ({ sentAt }) => sql`${sentAt} = null`);
}

/**
 * Says that somebody has taken alerts on: those of them that are open and that nobody has. They stay open, and what
 * is not sent is sent.
 *
 * @returns how many are taken on now; ids of alerts that the caller does not see count nothing
 * @throws {z.ZodError} for ids, a key or a name that are none
 * @throws {Error} for a key without agent or organization
 */
export async function acknowledgeAlerts(
  tx: Executor,
  { by, now, ...choice }: AlertChoice & { readonly by: string; readonly now?: Date | undefined },
): Promise<number> {
  const given = parsed(inputs.acknowledgement, { by, now });
  return change(tx, "acknowledgeAlerts", {
    ...chosenBy(choice),
    where: sql`not resolved and not acknowledged`,
    set: sql`acknowledged = true, acknowledged_by = ${given.by}, acknowledged_at = ${instant(given.now)}`,
  });
}

/**
 * Says that the cause of alerts is gone: those of them that are open. They are not sent any more, and the next
 * incident of their key is a new alert.
 *
 * @param choice which alerts; `by` left out: it passed by itself; `notes` for the next time
 * @returns how many are resolved now; ids of alerts that the caller does not see count nothing
 * @throws {z.ZodError} for ids, a key, a name or notes that are none
 * @throws {Error} for a key without agent or organization
 */
export async function resolveAlerts(
  tx: Executor,
  {
    by,
    notes,
    now,
    ...choice
  }: AlertChoice & {
    readonly by?: string | undefined;
    readonly notes?: string | undefined;
    readonly now?: Date | undefined;
  },
): Promise<number> {
  const given = parsed(inputs.resolution, { by, notes, now });
  return change(tx, "resolveAlerts", {
    ...chosenBy(choice),
    where: sql`not resolved`,
    set: sql`resolved = true, resolved_by = ${given.by ?? null}, resolved_at = ${instant(given.now)},
      resolution_notes = coalesce(${given.notes ?? null}, alert.resolution_notes)`,
  });
}

/** A claimed alert as SQL answers it. */
interface Row extends Omit<ClaimedAlert, "createdAt" | "claimedUntil"> {
  readonly createdAt: number;
  readonly claimedUntil: number;
}

const instant = (now: Date | undefined): SQL =>
  sql`coalesce(${now?.toISOString() ?? null}::timestamptz, clock_timestamp())`;

/** Drivers read instants differently. */
const milliseconds = (at: SQL): SQL => sql`(extract(epoch from ${at}) * 1000)::float8`;

const rank = (severity: SQL): SQL =>
  sql`array_position(${textArray(ALERT_SEVERITIES)}, ${severity})`;

const columnsOf = (channel: AlertChannel) => ({
  sent: sql.raw(`${channel}_sent`),
  sentAt: sql.raw(`${channel}_sent_at`),
});

const RISES = sql`${rank(sql`excluded.severity`)} > ${rank(sql`alert.severity`)}`;

/** What a louder call changes. */
const AGAIN = sql.join([
  ...["severity", "title", "message"].map(
    (name) =>
      sql`${sql.raw(name)} = case when ${RISES} then excluded.${sql.raw(name)} else alert.${sql.raw(name)} end, `,
  ),
  ...ALERT_CHANNELS.map(columnsOf).map(
    ({ sent, sentAt }) =>
      sql`${sent} = alert.${sent} and not (${RISES}), ${sentAt} = case when ${RISES} then null else alert.${sentAt} end, `,
  ),
]);

/** Others may have written anything there. */
const OCCURRENCES = sql`case
  when jsonb_typeof(alert.details -> 'occurrences') = 'number'
  then least(greatest(trunc((alert.details -> 'occurrences')::numeric), 1), 2147483646)
  else 1 end`;

/** The agent and organization of an alert; none where the caller may not raise one of them. */
function subjectRow({ agentId, organizationId }: AlertSubject): SQL {
  const asked = organizationId ?? null;
  return agentId === undefined
    ? sql`(
      select null::uuid as agent_id, organization_id
      from (select coalesce(${asked}::uuid, own) as organization_id, own
        from (select meta_agent.current_organization_id() as own offset 0) as caller) as given
      where organization_id = coalesce(own, organization_id))`
    : sql`(
      select id as agent_id, organization_id from public.agent_registry
      where id = ${agentId} and organization_id is not distinct from coalesce(${asked}::uuid, organization_id))`;
}

function lacking({ agentId, organizationId }: AlertSubject): string {
  if (agentId !== undefined) return `no agent ${agentId}, or it is not this caller's`;
  return organizationId === undefined
    ? "without an agent an alert is the organization's, and this caller has none: give organizationId"
    : `no organization ${organizationId}, or it is not this caller's`;
}

const COLUMNS = sql`id, ${columnList(alertHistory)}`;

/**
 * Changes alerts that are locked, each found by its key. An UPDATE that joins them is planned by the average
 * organization: it read all alerts of a large one.
 */
const updateOf = (locked: string): SQL => sql`
  insert into public.alert_history as alert (${COLUMNS}) select ${COLUMNS} from ${sql.raw(locked)}
  on conflict (id) do update`;

/** A change of alerts. */
interface Change {
  /** A query for their ids, as `ordered`. */
  readonly chosen: SQL;
  /** Whose key it was, where the alerts were chosen by one. */
  readonly subject?: AlertSubject | undefined;
  /** Which of them are changed, by columns of theirs and of `ordered`. */
  readonly where: SQL;
  readonly set: SQL;
}

function chosenBy(choice: AlertChoice): Pick<Change, "chosen" | "subject"> {
  if ("ids" in choice) {
    const { ids } = parsed(inputs.ids, choice);
    return { chosen: sql`select id from unnest(${textArray(ids)}::uuid[]) as given(id)` };
  }
  const { dedupKey, ...subject } = parsed(inputs.keyed, choice);
  const isTheirs =
    subject.agentId === undefined
      ? sql`agent_id is null and organization_id = (select organization_id from subject)`
      : sql`agent_id = ${subject.agentId} and exists (select from subject)`;
  return {
    subject,
    chosen: sql`
      select id from public.alert_history
      where ${isTheirs} and details ->> 'dedup_key' = ${dedupKey} and ${IS_OPEN_AND_KEYED}`,
  };
}

/** Several are locked in the order of their ids: of two callers with the same ones each would wait for the other's. */
async function change(
  tx: Executor,
  name: string,
  { chosen, subject, where, set }: Change,
): Promise<number> {
  const [done] = await answered<{ changed: number; is_there: boolean }>(
    tx,
    sql`
    with subject as materialized (${subject ? sql`select * from ${subjectRow(subject)} as found` : sql`select`}),
    chosen as materialized (${chosen}),
    locked as materialized (
      select alert.* from (select distinct * from chosen order by id) as ordered
      cross join lateral (
        select * from public.alert_history where ${isKey("id", "ordered.id")} and ${where} order by id for no key update
      ) as alert
    ), changed as (
      ${updateOf("locked")} set ${set} returning alert.id
    )
    select (select count(*)::int from changed) as changed, exists (select from subject) as is_there`,
  );
  if (subject && !done?.is_there) throw new Error(`${name}: ${lacking(subject)}`);
  return done?.changed ?? 0;
}

/** Changes claimed alerts that are still as they were claimed: a louder one has news that were not sent. */
async function settle(
  tx: Executor,
  name: string,
  claimed: ClaimedAlerts,
  set: (columns: ReturnType<typeof columnsOf>, at: SQL) => SQL,
): Promise<number> {
  const { channel, alerts, now } = parsed(inputs.claimed, claimed);
  const columns = columnsOf(channel);
  const list = (values: readonly string[], type: string) =>
    sql`${textArray(values)}::${sql.raw(type)}[]`;
  const ids = alerts.map(({ id }) => id);
  const severities = alerts.map(({ severity }) => severity);
  const ends = alerts.map(({ claimedUntil }) => claimedUntil.toISOString());
  return change(tx, name, {
    chosen: sql`select * from unnest(${list(ids, "uuid")}, ${list(severities, "text")}, ${list(ends, "timestamptz")})
      as given(id, severity, claimed_until)`,
    where: sql`not ${columns.sent} and severity = ordered.severity and ${columns.sentAt} = ordered.claimed_until`,
    set: set(columns, instant(now)),
  });
}

/** Checks of the schema, its references and indexes, and what the planner knows. */
import { sql } from "drizzle-orm";
import { type Database, textArray } from "../../client/sql.ts";
import { EMBEDDING_INDEXES, ENOUGH_ROWS } from "../../fleet/embedding-index.ts";
import { plannedFindings } from "../drift/diff.ts";
import type { PlannedFinding } from "../drift/findings.ts";
import { isMinor } from "../drift/kinds.ts";
import { embeddingIndexStates, fittedLists } from "../rebuild.ts";
import { UnreadableJournalError } from "../migrate/journal.ts";
import { type MigrationRecord, migrationStatus } from "../migrate/migrate.ts";
import {
  type Check,
  type CheckResult,
  checkOf,
  count,
  error,
  info,
  ours,
  stored,
  warning,
} from "./check.ts";

/** What of the schema is not as the migrations make it; while some are to come, that they are. */
export const differences: Check = {
  name: "schema",
  run: async (db) => {
    const { grave, unread } = await journalFindings(db);
    // `diff --repair` would refuse.
    return grave.length > 0 ? grave : [...unread, ...(await drift(db))];
  },
};

const STATES: Partial<Record<MigrationRecord["state"], string>> = {
  pending: "not applied",
  skipped: "skipped: later ones are applied",
  edited: "edited after they were applied",
  unknown: "applied by another version of meta-agent-db",
};

async function journalFindings(
  db: Database,
): Promise<{ grave: CheckResult[]; unread: CheckResult[] }> {
  try {
    const { migrations } = await migrationStatus(db);
    const isEmpty = migrations.every(({ state }) => state === "pending");
    const grave = Object.entries(STATES).flatMap(([state, words]) => {
      const names = migrations.flatMap((one) =>
        one.state === state ? [one.name ?? one.when] : [],
      );
      return names.length === 0
        ? []
        : [
            error(
              `migrations are ${words}: ${names.join(", ")}`,
              `meta-agent-db ${isEmpty ? "adopt" : state === "pending" ? "migrate" : "status"}`,
            ),
          ];
    });
    return { grave, unread: [] };
  } catch (cause) {
    if (!(cause instanceof UnreadableJournalError)) throw cause;
    const unread = info(
      "the journal is not checked: needs the owner of the tables",
      "Run doctor with MIGRATION_DATABASE_URL too.",
    );
    return { grave: [], unread: [unread] };
  }
}

const drift = async (db: Database): Promise<CheckResult[]> =>
  (await plannedFindings(db))
    // Of an invalid index there is more to say than that it is one.
    .filter(
      ({ live }) =>
        !(
          (live?.kind === "index" || live?.kind === "unique index") &&
          live.facts.state === "invalid" &&
          // One of a log that is cut is mended by diff: it lacks a partition's.
          !live.facts.isOfPartitions
        ),
    )
    .map((planned) =>
      differenceOf(
        planned,
        planned.finding.safe ? "meta-agent-db diff --repair" : repairOf(planned),
      ),
    );

/** A difference as a finding. */
export const differenceOf = (
  { object: { kind }, finding: { object, problem, why } }: PlannedFinding,
  next: string,
): CheckResult =>
  (isMinor(kind, problem) ? warning : error)(
    `${object} is ${problem === "extra" ? "not of the migrations" : problem}. ${why}`,
    next,
  );

/** The statements that bring it back, in a line. */
export const repairOf = ({ finding: { repair } }: PlannedFinding): string =>
  repair.map((statement) => `${statement};`).join(" ");

export const references = checkOf<{ reference: string; table: string; columns: string }>(
  "references",
  () => sql`
    select c.conname as reference, c.conrelid::regclass::text as table, string_agg(quote_ident(a.attname), ', ' order by k.position) as columns
    from pg_constraint as c
    -- Where the organization is a part of a key, the rest finds the rows.
    cross join lateral (select array_remove(c.conkey, (select attnum from pg_attribute
      where attrelid = c.conrelid and attname = 'organization_id' and cardinality(c.conkey) > 1)) as keys) as asked
    cross join unnest(keys) with ordinality as k (attnum, position)
    join pg_attribute as a on a.attrelid = c.conrelid and a.attnum = k.attnum
    where c.contype = 'f' and c.conparentid = 0
      and (c.conrelid in (select oid from ${ours} as ours) or c.confrelid in (select oid from ${ours} as ours))
      and not exists (
        select from pg_index as i join pg_class as index on index.oid = i.indexrelid join pg_am on pg_am.oid = index.relam
        where i.indrelid = c.conrelid and i.indisvalid and pg_am.amname in ('btree', 'hash')
          and (i.indkey::int2[])[0:cardinality(keys) - 1] @> keys
          and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) in (
            select format('(%I IS NOT NULL)', attname) from pg_attribute where attrelid = c.conrelid and attnum = any (c.conkey))))
    group by c.oid, c.conname, c.conrelid order by 2, 1`,
  ({ reference, table, columns }) => [
    warning(
      `the reference ${reference} of ${table} has no index: each delete and change of a key on the other side reads the whole table`,
      `CREATE INDEX CONCURRENTLY ON ${table} (${columns});`,
    ),
  ],
);

/** Names that only a rebuild at work gives. */
const REBUILDING = Object.values(EMBEDDING_INDEXES).flatMap(({ name }) => [
  `${name}_new`,
  `${name}_old`,
]);

export const indexes = checkOf<{
  index: string;
  table: string;
  unique: boolean;
  building: boolean;
  leftover: boolean;
  cutOff: boolean;
}>(
  "indexes",
  () => sql`
    select i.indexrelid::regclass::text as index, i.indrelid::regclass::text as table, i.indisunique as unique,
      not i.indisvalid and exists (select from pg_stat_progress_create_index as p where p.relid = i.indrelid) as building,
      c.relname ~ '_cc(new|old)\\d*$' as leftover, c.relname = any (${textArray(REBUILDING)}) as "cutOff"
    from pg_index as i join pg_class as c on c.oid = i.indexrelid
    where (not (i.indisvalid and i.indisready) or c.relname = any (${textArray(REBUILDING)})) and i.indrelid in (select oid from ${stored} as ours) order by 1`,
  ({ index, table, unique, building, leftover, cutOff }) => {
    if (building) {
      return [info(`the index ${index} of ${table} is not valid, and one is being built`, "Wait.")];
    }
    if (cutOff) {
      return [
        warning(
          `the index ${index} of ${table} is left over from a rebuild that was cut off; it costs every write`,
          "meta-agent-db rebuild",
        ),
      ];
    }
    if (leftover) {
      return [
        warning(
          `the index ${index} of ${table} is left over from a REINDEX that failed; it costs every write`,
          `DROP INDEX CONCURRENTLY ${index};`,
        ),
      ];
    }
    return [
      warning(
        `the index ${index} of ${table} is not valid: it costs every write and serves no query${unique ? "; remove the duplicates first, it is unique" : ""}`,
        `REINDEX INDEX CONCURRENTLY ${index};`,
      ),
    ];
  },
);

/**
 * A B-tree is compared with what its entries need: widths from the statistics, 8 bytes an entry and 4 a
 * pointer, pages nine tenths full. Equal keys need less than that, so nothing is said too early. Other
 * kinds of indexes and the insides of tables are not estimated.
 */
export const bloat = checkOf<{ index: string; bytes: string; share: number }>(
  "bloat",
  () => sql`
    select index, pg_size_pretty(size) as bytes, round(100 * expected / size)::int as share
    from (
      select i.indexrelid::regclass::text as index, pg_relation_size(i.indexrelid) as size,
        greatest(c.reltuples, 0) * (12 + ceil(sum(s.avg_width * (1 - s.null_frac)) / 8) * 8) / 0.9 as expected,
        count(*) = i.indnatts and count(*) = count(s.avg_width) as known
      from pg_index as i join pg_class as c on c.oid = i.indexrelid join pg_am on pg_am.oid = c.relam
      join ${stored} as ours on ours.oid = i.indrelid cross join unnest(i.indkey) as k (attnum)
      left join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.attnum
      left join pg_stats as s on s.schemaname = ours.home and s.tablename = ours.relname and s.attname = a.attname
      where pg_am.amname = 'btree' and i.indisvalid and pg_relation_size(i.indexrelid) > 8 * 1024 ^ 2
      group by i.indexrelid, i.indnatts, c.reltuples
    ) as estimate
    where known and size > 3 * expected order by size desc`,
  ({ index, bytes, share }) => [
    warning(
      `the index ${index} takes ${bytes}, of which its entries need about ${share} %`,
      `REINDEX INDEX CONCURRENTLY ${index};`,
    ),
  ],
  { owner: true },
);

/** What searches go by; an index that is missing or invalid is told by others. Counts the rows. */
export const embeddings: Check = {
  name: "embeddings",
  owner: true,
  run: async (db) =>
    (await embeddingIndexStates(db)).flatMap(({ index, rows: indexed, lists, problem }) => {
      if (lists === null || indexed < ENOUGH_ROWS) return [];
      const fitted = fittedLists(indexed);
      const unfit = lists > 4 * fitted || fitted > 4 * lists;
      return problem === undefined && !unfit
        ? []
        : [
            warning(
              `the index ${index} ${problem ? `was ${problem}` : `has ${lists} lists for ${count(indexed)} rows, ${fitted} would fit`}`,
              `meta-agent-db rebuild${problem ? "" : " --force"}`,
            ),
          ];
    }),
};

export const statistics = checkOf<{ table: string; extended: string | null }>(
  "statistics",
  () => sql`
    select name as table, null as extended from ${stored} as ours where reltuples < 0 and pg_relation_size(oid) > 65536
    union all
    select name, stxname from ${stored} as ours join pg_statistic_ext on stxrelid = ours.oid
    where reltuples > 0 and pg_relation_size(ours.oid) > 65536 and not exists (select from pg_stats_ext as filled
      join pg_namespace as home on home.nspname = filled.statistics_schemaname
        where home.oid = stxnamespace and filled.statistics_name = stxname)
    order by 1, 2`,
  ({ table, extended }) => [
    warning(
      extended === null
        ? `the table ${table} was never analyzed: the planner guesses`
        : `the statistics ${extended} of ${table} are empty: the planner underestimates what a tenant's query finds`,
      `ANALYZE ${table};`,
    ),
  ],
  { owner: true },
);

import type { Anatomy, Part } from "./anatomy.ts";
import { engine } from "../engine.ts";
import type { Damage, Place } from "./damage.ts";

/** One place for each part of a kind that `statements` has something for. */
const per =
  (
    kind: Part["kind"],
    problem: "missing" | "changed",
    statements: (part: Part, anatomy: Anatomy) => readonly string[] | string | undefined,
  ) =>
  (anatomy: Anatomy): Place[] =>
    anatomy.of(kind).flatMap((part) => {
      const list = statements(part, anatomy);
      return list === undefined
        ? []
        : [{ statements: [list].flat(), findings: [`${problem} ${part.object}`] }];
    });

/** One place for each table: what is added to it. */
const added =
  (finding: (table: string) => string, statements: (table: Part) => readonly string[] | string) =>
  (anatomy: Anatomy): Place[] =>
    anatomy.of("table").map((table) => ({
      statements: [statements(table)].flat(),
      findings: [finding(table.name)],
    }));

/** One place for each part of a kind: it falls, and all that stands on it. */
const dropped =
  (kind: Part["kind"], statement: (part: Part) => string | undefined) =>
  (anatomy: Anatomy): Place[] =>
    anatomy.of(kind).flatMap((part) => {
      const drop = statement(part);
      return drop === undefined ? [] : [{ statements: [drop], findings: anatomy.fallsWith(part) }];
    });

const alter = ({ table }: Part, action: string) => `alter table ${table} ${action}`;
const redo = (part: Part, definition: string) => [
  alter(part, `drop constraint ${part.name}`),
  alter(part, `add constraint ${part.name} ${definition}`),
];
const isKind = (letter: string) => (part: Part) => part.more === letter;
const [isPrimary, isUnique, isCheck, isForeign] = ["p", "u", "c", "f"].map(isKind);

const constraint = (
  is: ((part: Part) => boolean) | undefined,
  problem: "missing" | "changed",
  statements: (part: Part) => readonly string[] | string | undefined,
) => per("constraint", problem, (part) => (is?.(part) ? statements(part) : undefined));

const tables: Damage[] = [
  {
    kind: "a table dropped",
    places: dropped("table", ({ table }) => `drop table ${table} cascade`),
  },
  {
    kind: "a table not logged",
    places: per("table", "changed", (table, { fallsWith }) =>
      fallsWith(table).some((finding) => finding.startsWith("missing foreign key"))
        ? undefined
        : alter(table, "set unlogged"),
    ),
  },
  {
    kind: "row-level security off",
    places: (anatomy) =>
      anatomy.of("table").map((table) => ({
        statements: [alter(table, "disable row level security")],
        findings: [`changed row-level security of ${table.name}`],
      })),
  },
  {
    kind: "row-level security forced",
    places: (anatomy) =>
      anatomy.of("table").map((table) => ({
        statements: [alter(table, "force row level security")],
        findings: [`changed row-level security of ${table.name}`],
      })),
  },
  {
    kind: "a table of another owner",
    places: added(
      (table) => `changed owner of ${table}`,
      (table) => ["create role somebody", alter(table, "owner to somebody")],
    ),
  },
];

const columns: Damage[] = [
  {
    kind: "a column dropped",
    places: dropped("column", (column) => alter(column, `drop column ${column.name} cascade`)),
  },
  {
    kind: "a column of another type",
    places: per("column", "changed", (column, { isFree }) =>
      column.definition === "text" && isFree(column)
        ? alter(column, `alter ${column.name} type varchar(40)`)
        : undefined,
    ),
  },
  {
    kind: "a column of another type, with a default",
    places: per("column", "changed", (column, { isFree }) =>
      column.more !== "" && column.definition !== "character varying(40)" && isFree(column)
        ? [
            alter(column, `alter ${column.name} drop default`),
            alter(column, `alter ${column.name} type varchar(40) using ${column.name}::text`),
            alter(column, `alter ${column.name} set default 'none'`),
          ]
        : undefined,
    ),
  },
  {
    kind: "a column sorted otherwise",
    places: per("column", "changed", (column, { isFree }) =>
      column.definition === "text" && isFree(column)
        ? alter(column, `alter ${column.name} type text collate "C"`)
        : undefined,
    ),
  },
  {
    kind: "a default dropped",
    places: per("column", "changed", (column) =>
      column.more === "" ? undefined : alter(column, `alter ${column.name} drop default`),
    ),
  },
  {
    kind: "a default changed",
    places: per("column", "changed", (column) =>
      column.more === "" ? undefined : alter(column, `alter ${column.name} set default null`),
    ),
  },
  {
    kind: "a default added",
    places: per("column", "changed", (column) =>
      column.more === "" && column.definition === "text"
        ? alter(column, `alter ${column.name} set default 'none'`)
        : undefined,
    ),
  },
  {
    kind: "NULL allowed",
    places: per("column", "changed", (column) =>
      column.notNull && column.name !== "id"
        ? alter(column, `alter ${column.name} drop not null`)
        : undefined,
    ),
  },
  {
    kind: "NULL refused",
    places: per("column", "changed", (column) =>
      column.notNull ? undefined : alter(column, `alter ${column.name} set not null`),
    ),
  },
  // From PostgreSQL 18 on.
  ...(engine === "container"
    ? []
    : [
        {
          kind: "NULL refused in new rows only",
          places: per("column", "changed", (column) =>
            column.notNull && column.name !== "id"
              ? [
                  alter(column, `alter ${column.name} drop not null`),
                  alter(column, `add not null ${column.name} not valid`),
                ]
              : undefined,
          ),
        },
      ]),
  {
    kind: "a column that counts by itself",
    places: per("column", "changed", (column) =>
      column.notNull && column.definition === "integer"
        ? [
            alter(column, `alter ${column.name} drop default`),
            alter(column, `alter ${column.name} add generated always as identity`),
          ]
        : undefined,
    ),
  },
  {
    kind: "a column that is computed",
    places: per("column", "changed", (column, { isFree }) =>
      column.definition === "text" && column.more === "" && !column.notNull && isFree(column)
        ? alter(
            column,
            `drop column ${column.name},
             add column ${column.name} text generated always as ('none')${engine === "container" ? " stored" : ""}`,
          )
        : undefined,
    ),
  },
  {
    kind: "a column added",
    places: added(
      (table) => `extra column ${table}.note`,
      (table) => [
        alter(table, "add column note text"),
        `comment on column ${table.table}.note is 'Mine.'`,
      ],
    ),
  },
];

const constraints: Damage[] = [
  {
    kind: "a constraint dropped",
    places: dropped("constraint", (part) => alter(part, `drop constraint ${part.name} cascade`)),
  },
  {
    kind: "a primary key that waits",
    places: (anatomy) =>
      anatomy
        .of("constraint")
        .filter((part) => isPrimary?.(part))
        .flatMap((part) => {
          const falls = anatomy.fallsWith(part);
          return falls.length > 1
            ? []
            : [
                {
                  statements: redo(part, `${part.definition} deferrable`),
                  findings: [`changed ${part.object}`],
                },
              ];
        }),
  },
  {
    kind: "a unique constraint that waits",
    places: constraint(isUnique, "changed", (part) => redo(part, `${part.definition} deferrable`)),
  },
  {
    kind: "a unique constraint that treats NULLs otherwise",
    places: constraint(isUnique, "changed", (part) =>
      redo(
        part,
        part.definition.includes("NULLS NOT DISTINCT")
          ? part.definition.replace(" NULLS NOT DISTINCT", "")
          : part.definition.replace("UNIQUE", "UNIQUE NULLS NOT DISTINCT"),
      ),
    ),
  },
  {
    kind: "a check that lets everything pass",
    places: constraint(isCheck, "changed", (part) => redo(part, "check (true)")),
  },
  {
    kind: "a check not validated",
    places: constraint(isCheck, "changed", (part) => redo(part, `${part.definition} not valid`)),
  },
  // From PostgreSQL 18 on.
  ...(engine === "container"
    ? []
    : [
        {
          kind: "a check not enforced",
          places: constraint(isCheck, "changed", (part) =>
            redo(part, `${part.definition} not enforced`),
          ),
        },
      ]),
  {
    kind: "a check added",
    places: added(
      (table) => `extra check mine on ${table}`,
      (table) => alter(table, "add constraint mine check (id is not null)"),
    ),
  },
  {
    kind: "an exclusion constraint added",
    places: added(
      (table) => `extra exclusion constraint mine on ${table}`,
      (table) => alter(table, "add constraint mine exclude using btree (id with =)"),
    ),
  },
  {
    kind: "another rule for deletes",
    places: constraint(isForeign, "changed", (part) =>
      redo(
        part,
        part.definition.includes("ON DELETE")
          ? part.definition.replace(/ON DELETE .*/, "")
          : `${part.definition} on delete cascade`,
      ),
    ),
  },
  {
    kind: "a reference not validated",
    places: constraint(isForeign, "changed", (part) => redo(part, `${part.definition} not valid`)),
  },
  {
    kind: "a reference that waits",
    places: constraint(isForeign, "changed", (part) =>
      redo(part, `${part.definition} deferrable initially deferred`),
    ),
  },
  {
    kind: "references not enforced",
    places: (anatomy) =>
      anatomy.of("table").flatMap((table) => {
        const references = anatomy
          .of("constraint")
          .filter((part) => isForeign?.(part))
          .filter(
            (part) =>
              part.table === table.table || part.definition.includes(`REFERENCES ${table.name}(`),
          );
        const triggers = anatomy.of("trigger").filter((part) => part.table === table.table);
        return [
          {
            statements: [alter(table, "disable trigger all")],
            findings: [...references, ...triggers].map(({ object }) => `changed ${object}`),
          },
        ];
      }),
  },
  {
    kind: "a reference added",
    places: added(
      (table) => `extra foreign key mine on ${table}`,
      (table) => alter(table, `add constraint mine foreign key (id) references ${table.table}`),
    ),
  },
  {
    kind: "a unique constraint added",
    places: added(
      (table) => `extra unique constraint mine on ${table}`,
      (table) => alter(table, "add constraint mine unique (id)"),
    ),
  },
];

const indexes: Damage[] = [
  { kind: "an index dropped", places: dropped("index", ({ name }) => `drop index ${name}`) },
  {
    kind: "an index of other rows",
    places: per("index", "changed", ({ name, definition }) => [
      `drop index ${name}`,
      definition.includes(" WHERE ")
        ? definition.replace(/ WHERE .*/, "")
        : `${definition} where id is not null`,
    ]),
  },
  {
    kind: "an index of another method",
    places: per("index", "changed", ({ name, definition }) =>
      / USING btree \(\w+\)$/.test(definition)
        ? [`drop index ${name}`, definition.replace("btree", "hash")]
        : undefined,
    ),
  },
  {
    kind: "an index in another order",
    places: per("index", "changed", ({ name, definition }) =>
      definition.endsWith(" DESC)")
        ? [`drop index ${name}`, definition.replace(/ DESC\)$/, ")")]
        : undefined,
    ),
  },
  {
    kind: "an index by another operator class",
    places: per("index", "changed", ({ name, definition }) =>
      definition.includes("vector_cosine_ops")
        ? [`drop index ${name}`, definition.replace("vector_cosine_ops", "vector_l2_ops")]
        : undefined,
    ),
  },
  {
    kind: "an index with other options",
    places: per("index", "changed", ({ name, definition }) =>
      definition.includes("btree") ? `alter index ${name} set (fillfactor = 70)` : undefined,
    ),
  },
  {
    kind: "an index that is not valid",
    places: per(
      "index",
      "changed",
      ({ name }) => `update pg_index set indisvalid = false where indexrelid = '${name}'::regclass`,
    ),
  },
  {
    kind: "a unique index that takes any row",
    places: per("index", "changed", ({ name, definition }) =>
      definition.startsWith("CREATE UNIQUE ")
        ? [`drop index ${name}`, definition.replace("UNIQUE ", "")]
        : undefined,
    ),
  },
  {
    kind: "a unique index that a constraint has the place of",
    places: per("index", "changed", ({ name, table, definition }) => {
      const [, keys, condition] =
        /^CREATE UNIQUE .* USING btree \((.+)\) WHERE (.+)$/.exec(definition) ?? [];
      return keys && condition
        ? [
            `drop index ${name}`,
            `alter table ${table} add constraint ${name}
               exclude using btree (${keys} with =) where (${condition}) deferrable`,
          ]
        : undefined;
    }),
  },
  {
    kind: "a unique index added",
    places: added(
      (table) => `extra unique index mine on ${table}`,
      ({ table }) => `create unique index mine on ${table} (id) where id is not null`,
    ),
  },
  {
    kind: "statistics dropped",
    places: dropped("statistics", ({ name }) => `drop statistics ${name}`),
  },
  {
    kind: "statistics of another kind",
    places: per("statistics", "changed", ({ name, definition }) => [
      `drop statistics ${name}`,
      definition.replace("dependencies", "ndistinct"),
    ]),
  },
];

const policies: Damage[] = [
  {
    kind: "a policy dropped",
    places: dropped("policy", ({ name, table }) => `drop policy ${name} on ${table}`),
  },
  {
    kind: "a policy that shows everything",
    places: per("policy", "changed", ({ name, table, definition }) =>
      ["SELECT", "UPDATE", "DELETE"].includes(definition)
        ? `alter policy ${name} on ${table} using (true)`
        : undefined,
    ),
  },
  {
    kind: "a policy that takes everything",
    places: per("policy", "changed", ({ name, table, definition }) =>
      ["INSERT", "UPDATE"].includes(definition)
        ? `alter policy ${name} on ${table} with check (true)`
        : undefined,
    ),
  },
  {
    kind: "a policy for everyone",
    places: per(
      "policy",
      "changed",
      ({ name, table }) => `alter policy ${name} on ${table} to public`,
    ),
  },
  {
    kind: "a policy for one more role",
    places: per("policy", "changed", ({ name, table }) => [
      `alter policy ${name} on ${table} to authenticated, service_role`,
    ]),
  },
  {
    kind: "a policy for another command",
    places: per("policy", "changed", ({ name, table, definition }) =>
      definition === "SELECT"
        ? [
            `drop policy ${name} on ${table}`,
            `create policy ${name} on ${table} to authenticated using (false)`,
          ]
        : undefined,
    ),
  },
  {
    kind: "a policy that restricts",
    places: per("policy", "changed", ({ name, table, definition }) =>
      definition === "ALL"
        ? [
            `drop policy ${name} on ${table}`,
            `create policy ${name} on ${table} as restrictive to service_role using (true) with check (true)`,
          ]
        : undefined,
    ),
  },
  {
    kind: "a policy of another name",
    places: (anatomy) =>
      anatomy.of("policy").map(({ name, table, object }) => ({
        statements: [`alter policy ${name} on ${table} rename to mine`],
        findings: [`missing ${object}`, `extra policy "mine" on ${table.replace("public.", "")}`],
      })),
  },
  {
    kind: "a permissive policy added",
    places: added(
      (table) => `extra policy "Mine" on ${table}`,
      ({ table }) => `create policy "Mine" on ${table} to authenticated using (id is not null)`,
    ),
  },
  {
    kind: "a restrictive policy added",
    places: added(
      (table) => `extra policy "Mine" on ${table}`,
      ({ table }) => `create policy "Mine" on ${table} as restrictive using (id is not null)`,
    ),
  },
];

const ROLES = ["authenticated", "service_role"];
/** Those of our roles that may call a function. */
const callersOf = ({ more }: Part) => more.split(",").filter((role) => role !== "");
/** One place for each table and each of the two roles. */
const perGrant =
  (statement: (table: string, role: string) => string) =>
  (anatomy: Anatomy): Place[] =>
    anatomy.of("table").flatMap(({ name, table }) =>
      ROLES.map((role) => ({
        statements: [statement(table, role)],
        findings: [`changed grant on ${name} to ${role}`],
      })),
    );

const privileges: Damage[] = [
  {
    kind: "all privileges taken",
    places: (anatomy) =>
      anatomy.of("table").flatMap(({ name, table }) =>
        ROLES.map((role) => ({
          statements: [`revoke all on ${table} from ${role}`],
          findings: [`missing grant on ${name} to ${role}`],
        })),
      ),
  },
  {
    kind: "a privilege taken",
    places: perGrant((table, role) => `revoke update on ${table} from ${role}`),
  },
  {
    kind: "a privilege added",
    places: perGrant((table, role) => `grant truncate on ${table} to ${role}`),
  },
  {
    kind: "a privilege to be passed on",
    places: perGrant((table, role) => `grant select on ${table} to ${role} with grant option`),
  },
  {
    kind: "a privilege on a column",
    places: added(
      (table) => `extra grant on ${table} to anon`,
      ({ table }) => `grant select (id), update (id) on ${table} to anon`,
    ),
  },
  {
    kind: "a privilege for everyone",
    places: added(
      (table) => `extra grant on ${table} to PUBLIC`,
      ({ table }) => `grant select on ${table} to public`,
    ),
  },
  {
    kind: "TRUNCATE for a role of the user's",
    places: added(
      (table) => `extra grant on ${table} to somebody`,
      ({ table }) => ["create role somebody", `grant select, truncate on ${table} to somebody`],
    ),
  },
  {
    kind: "a function for everyone",
    places: (anatomy) =>
      anatomy.of("function").map(({ name, object }) => ({
        statements: [`grant execute on function ${name} to public`],
        findings: [`extra grant on ${object} to PUBLIC`],
      })),
  },
  {
    kind: "a function for nobody",
    places: (anatomy) =>
      anatomy
        .of("function")
        .filter((part) => callersOf(part).includes("authenticated"))
        .map(({ name, object }) => ({
          statements: [`revoke execute on function ${name} from authenticated`],
          findings: [`missing grant on ${object} to authenticated`],
        })),
  },
  {
    kind: "a schema open to others",
    places: () => [
      {
        statements: ["grant usage on schema meta_agent to anon"],
        findings: ["extra grant on schema meta_agent to anon"],
      },
      {
        statements: ["grant create on schema meta_agent to authenticated"],
        findings: ["changed grant on schema meta_agent to authenticated"],
      },
      {
        statements: ["grant create on schema public to authenticated"],
        findings: ["extra grant on schema public to authenticated"],
      },
      {
        statements: ["grant usage on schema drizzle to service_role"],
        findings: ["extra grant on schema drizzle to service_role"],
      },
    ],
  },
  {
    kind: "a schema closed to tenants",
    places: () => [
      ...ROLES.map((role) => ({
        statements: [`revoke usage on schema meta_agent from ${role}`],
        findings: [`missing grant on schema meta_agent to ${role}`],
      })),
      {
        statements: ["revoke usage on schema public from public"],
        findings: ROLES.map((role) => `missing grant of use of schema public to ${role}`),
      },
    ],
  },
  {
    kind: "the journal open to others",
    places: () => [
      {
        statements: ["grant select on drizzle.__meta_agent_migrations to service_role"],
        findings: ["extra grant on drizzle.__meta_agent_migrations to service_role"],
      },
      {
        statements: ["grant usage on sequence drizzle.__meta_agent_migrations_id_seq to anon"],
        findings: ["extra grant on drizzle.__meta_agent_migrations_id_seq to anon"],
      },
    ],
  },
];

/** A function's definition without its body. */
const headOf = (definition: string) => definition.split("AS $function$")[0] ?? "";

const functions: Damage[] = [
  {
    kind: "a function dropped",
    places: dropped("function", ({ name }) => `drop function ${name} cascade`),
  },
  {
    kind: "a function with another body",
    places: per("function", "changed", ({ definition }) =>
      definition.replace("AS $function$", (start) => `${start} `),
    ),
  },
  {
    kind: "a function of another volatility",
    places: per(
      "function",
      "changed",
      ({ name, definition }) =>
        `alter function ${name} ${headOf(definition).includes("STABLE") ? "volatile" : "stable"}`,
    ),
  },
  {
    kind: "a function with another search_path",
    places: per(
      "function",
      "changed",
      ({ name }) => `alter function ${name} set search_path = public`,
    ),
  },
  {
    kind: "a function without its settings",
    places: per("function", "changed", ({ name }) => `alter function ${name} reset all`),
  },
  {
    kind: "a function that runs as another",
    places: per(
      "function",
      "changed",
      ({ name, definition }) =>
        `alter function ${name} security ${headOf(definition).includes("SECURITY DEFINER") ? "invoker" : "definer"}`,
    ),
  },
  {
    kind: "a function that answers otherwise",
    places: (anatomy) =>
      anatomy.of("function").flatMap((part) =>
        anatomy.isFree(part) && !part.definition.includes("RETURNS trigger")
          ? [
              {
                statements: [
                  `drop function ${part.name}`,
                  `create function ${part.name} returns text language sql as 'select null::text'`,
                ],
                findings: [
                  `changed ${part.object}`,
                  `extra grant on ${part.object} to PUBLIC`,
                  ...callersOf(part).map((role) => `missing grant on ${part.object} to ${role}`),
                ],
              },
            ]
          : [],
      ),
  },
  {
    kind: "a function of another owner",
    places: (anatomy) =>
      anatomy.of("function").map(({ name }) => ({
        statements: ["create role somebody", `alter function ${name} owner to somebody`],
        findings: [`changed owner of ${name}`],
      })),
  },
  {
    kind: "a function added to our schema",
    places: added(
      (table) => `extra function meta_agent.all_${table}()`,
      ({ name, table }) => `create function meta_agent.all_${name}() returns setof ${table}
        language sql security definer as 'table ${table}'`,
    ),
  },
  {
    kind: "a trigger dropped",
    places: dropped("trigger", ({ name, table }) => `drop trigger ${name} on ${table}`),
  },
  {
    kind: "a trigger off",
    places: per("trigger", "changed", (part) => alter(part, `disable trigger ${part.name}`)),
  },
  {
    kind: "a trigger on replicas only",
    places: per("trigger", "changed", (part) => alter(part, `enable replica trigger ${part.name}`)),
  },
  {
    kind: "a trigger at another time",
    places: per("trigger", "changed", ({ definition }) =>
      definition
        .replace("CREATE TRIGGER", "CREATE OR REPLACE TRIGGER")
        .replace(/BEFORE|AFTER/, (time) => (time === "BEFORE" ? "AFTER" : "BEFORE")),
    ),
  },
  {
    kind: "a trigger added",
    places: added(
      (table) => `extra trigger mine on ${table}`,
      ({ table }) => `create trigger mine before insert on ${table}
        for each row execute function suppress_redundant_updates_trigger()`,
    ),
  },
  {
    kind: "a rule added",
    places: added(
      (table) => `extra rule mine on ${table}`,
      ({ table }) => `create rule mine as on delete to ${table} do instead nothing`,
    ),
  },
];

const rest: Damage[] = [
  {
    kind: "a comment dropped",
    places: (anatomy) => [
      ...anatomy.of("table").map(({ name, table }) => ({
        statements: [`comment on table ${table} is null`],
        findings: [`missing comment on table ${name}`],
      })),
      {
        statements: ["comment on schema meta_agent is null"],
        findings: ["missing comment on schema meta_agent"],
      },
    ],
  },
  {
    kind: "a comment changed",
    places: () =>
      ["ab_tests.traffic_split", "sla_compliance.breach_minutes"].map((column) => ({
        statements: [`comment on column ${column} is 'Kilometres.'`],
        findings: [`changed comment on column ${column}`],
      })),
  },
  {
    kind: "a materialized view that others may read",
    places: added(
      (table) => `extra view public.copy_of_${table}`,
      ({ name, table }) => [
        `create materialized view copy_of_${name} as table ${table}`,
        `grant select on copy_of_${name} to authenticated, public`,
      ],
    ),
  },
  {
    kind: "a view that reads as its owner",
    places: added(
      (table) => `extra view public.all_${table}`,
      ({ name, table }) => `create view all_${name} as table ${table}`,
    ),
  },
  {
    kind: "a view over a view that reads as its owner",
    places: added(
      (table) => `extra view public.all_${table}`,
      ({ name, table }) => [
        `create view fair_${name} with (security_invoker) as table ${table}`,
        `create view all_${name} as table fair_${name}`,
      ],
    ),
  },
  {
    kind: "a rule of another table that uses ours",
    places: added(
      () => "extra rule mine on mine.notes",
      ({ table }) => [
        "create schema mine",
        "create table mine.notes (id uuid)",
        `create rule mine as on delete to mine.notes do also delete from ${table}`,
      ],
    ),
  },
  {
    kind: "a table made to inherit from another one",
    places: added(
      (table) => `extra inheritance of ${table} from mine.spy`,
      ({ table }) => [
        "create schema mine",
        "create table mine.spy ()",
        `alter table ${table} inherit mine.spy`,
      ],
    ),
  },
  {
    kind: "a table made a partition of another one",
    places: added(
      (table) => `extra inheritance of ${table} from mine.spy`,
      ({ table }) => [
        "create schema mine",
        `create table mine.spy (like ${table}) partition by list (id)`,
        `alter table mine.spy attach partition ${table} default`,
      ],
    ),
  },
  {
    kind: "a table that inherits from ours",
    places: added(
      (table) => `extra inheritance of mine.heir from ${table}`,
      ({ table }) => ["create schema mine", `create table mine.heir () inherits (${table})`],
    ),
  },
];

/** Every way we know to damage the catalog of a migrated database. */
export const damages: readonly Damage[] = [
  ...tables,
  ...columns,
  ...constraints,
  ...indexes,
  ...policies,
  ...privileges,
  ...functions,
  ...rest,
];

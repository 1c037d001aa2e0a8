import { sql } from "drizzle-orm";
import { type Transaction, rows } from "../../src/client/sql.ts";
import type { TestDatabase } from "../engine.ts";
import { type Fixture, fill } from "./fixture.ts";
import { type Table, survey } from "./survey.ts";

/** What must hold of a database. `check` answers what violates it, a sentence each; nothing: it holds. */
export interface Guarantee {
  readonly title: string;
  readonly check: (database: Pick<TestDatabase, "db">) => Promise<string[]>;
  /** The same in a transaction that is open and filled. What it does stays until that is rolled back. */
  readonly attack: (ground: Ground) => Promise<string[]>;
}

/** Where attacks happen: one transaction of the tables' owner, filled with rows, and rolled back. */
export interface Ground {
  readonly tx: Transaction;
  readonly fixture: Fixture;
  readonly tables: readonly Table[];
  /** Makes every trial, undoing each; answers what their verdicts say. */
  readonly try: (trials: readonly Trial[]) => Promise<string[]>;
}

/** A database role with the text of its claims. Without claims the setting is left alone. */
export interface Actor {
  /** Nothing: the owner. */
  readonly role?: "anon" | "authenticated" | "service_role";
  readonly claims?: string | undefined;
}

export const owner: Actor = {};
export const tenant = (organization: string): Actor => ({
  role: "authenticated",
  claims: JSON.stringify({ organization_id: organization }),
});

/** A statement and who sends it. */
export type Step = readonly [Actor, string];

/** Statements in the order in which they are sent, in one transaction, and what their outcome says. */
export interface Trial {
  readonly steps: readonly Step[];
  /** Answer the rows of the last statement; it must have some to give. */
  readonly reads?: boolean;
  /** Look which rows of any table were written or locked. */
  readonly watches?: boolean;
  /** What is wrong with the outcome, as a sentence; nothing: all is well. */
  readonly verdict: (outcome: Outcome) => string | undefined;
}

export interface Outcome {
  /** SQLSTATE of the error, if one was raised, and what came with it. */
  readonly code: string | null;
  readonly message: string | null;
  readonly detail: string | null;
  /** Which statement came last, from 0, and whether none was to follow. */
  readonly step: number;
  readonly final: boolean;
  /** How many rows the last statement read or wrote. */
  readonly count: number;
  readonly answer: readonly Readonly<Record<string, unknown>>[];
  /** "table id" of the rows that were written or locked. */
  readonly touched: readonly string[];
}

/** A guarantee from what it does on the ground. */
export function guarantee(title: string, attack: Guarantee["attack"]): Guarantee {
  const rollback = new Error("rolled back");
  return {
    title,
    attack,
    async check({ db }) {
      let violations: string[] = [];
      await db
        .transaction(async (tx) => {
          violations = await attack(await openGround(tx, await fill(tx)));
          throw rollback;
        })
        .catch((error: unknown) => {
          if (error !== rollback) throw error;
        });
      return violations;
    },
  };
}

/** Acts as someone while `work` is done, which is undone if it fails. For what only a driver can send. */
export function acting<T>(
  tx: Transaction,
  { role, claims = "" }: Actor,
  work: (tx: Transaction) => Promise<T>,
): Promise<T> {
  return tx.transaction(async (inner) => {
    const before = await inner.execute(sql`select current_setting('role') as role`);
    await inner.execute(
      sql`select set_config('request.jwt.claims', ${claims}, true), set_config('role', ${role ?? "none"}, true)`,
    );
    const result = await work(inner);
    const [former] = rows<{ role: string }>(before);
    await inner.execute(sql`select set_config('role', ${former?.role ?? "none"}, true)`);
    return result;
  });
}

/** Makes a filled transaction ready for attacks. */
export async function openGround(tx: Transaction, fixture: Fixture): Promise<Ground> {
  const tables = await survey(tx);
  await tx.execute(sql.raw(placesFunction(tables)));
  await tx.execute(sql.raw(ATTEMPT));
  return { tx, fixture, tables, try: (trials) => makeTrials(tx, trials) };
}

async function makeTrials(tx: Transaction, trials: readonly Trial[]): Promise<string[]> {
  if (trials.length === 0) throw new Error("a guarantee without a trial holds of nothing");
  const violations: string[] = [];
  for (let start = 0; start < trials.length; start += 500) {
    const batch = trials.slice(start, start + 500);
    const orders = batch.map(({ steps, reads = false, watches = false }) => ({
      steps: steps.map(([actor, statement]) => ({ ...actor, statement })),
      reads,
      watches,
    }));
    const result = await tx.execute(
      sql`select pg_temp.attempt(${JSON.stringify(orders)}::text::jsonb)::text as outcomes`,
    );
    const outcomes: Outcome[] = JSON.parse(rows<{ outcomes: string }>(result)[0]?.outcomes ?? "[]");
    if (outcomes.length !== batch.length) throw new Error("a trial came to no outcome");
    violations.push(...outcomes.flatMap((outcome, index) => batch[index]?.verdict(outcome) ?? []));
  }
  return violations;
}

/** Where each row lies and who locks it: what differs afterwards was touched. */
const placesFunction = (tables: readonly Table[]) => `
create or replace function pg_temp.places() returns jsonb language sql as $function$
  select jsonb_object_agg(key, place) from (${tables
    .map(
      ({ name, path }) =>
        `select '${name} ' || id as key, ctid::text || ' ' || xmax::text as place from ${path}`,
    )
    .join("\nunion all ")}) as list
$function$`;

// The attacks run on the server, each in a block that is undone: setting a role and claims, the
// statement and its undoing would otherwise be four messages.
const ATTEMPT = `
create or replace function pg_temp.attempt(trials jsonb) returns jsonb language plpgsql as $function$
declare
  owner_role constant text := current_setting('role');
  trial jsonb;
  step jsonb;
  found record;
  before jsonb;
  position int;
  last_position int;
  row_count bigint;
  answer jsonb;
  touched jsonb;
  error_code text;
  error_message text;
  error_detail text;
  outcomes jsonb[] := '{}';
begin
  for trial in select jsonb_array_elements(trials) loop
    position := -1;
    last_position := jsonb_array_length(trial -> 'steps') - 1;
    answer := '[]';
    touched := '[]';
    row_count := 0;
    begin
      before := case when (trial -> 'watches')::boolean then pg_temp.places() end;
      for number in 0 .. last_position loop
        position := number;
        step := trial -> 'steps' -> number;
        perform set_config('role', coalesce(step ->> 'role', owner_role), true);
        if step ? 'claims' then
          perform set_config('request.jwt.claims', step ->> 'claims', true);
        end if;
        if (trial -> 'reads')::boolean and number = last_position then
          for found in execute step ->> 'statement' loop
            answer := answer || to_jsonb(found);
          end loop;
          row_count := jsonb_array_length(answer);
        else
          execute step ->> 'statement';
          get diagnostics row_count = row_count;
        end if;
      end loop;
      perform set_config('role', owner_role, true);
      if before is not null then
        touched := (
          select coalesce(jsonb_agg(key order by key), '[]')
          from jsonb_each(before) as old full join jsonb_each(pg_temp.places()) as new using (key)
          where old.value is distinct from new.value);
      end if;
      raise exception using errcode = 'UNDO0';
    exception when others then
      get stacked diagnostics error_code = returned_sqlstate, error_message = message_text,
        error_detail = pg_exception_detail;
    end;
    outcomes := outcomes || jsonb_build_object(
      'code', nullif(error_code, 'UNDO0'), 'message', error_message, 'detail', nullif(error_detail, ''),
      'step', position, 'final', position = last_position, 'count', row_count, 'answer', answer,
      'touched', touched);
  end loop;
  return to_jsonb(outcomes);
end $function$`;

/**
 * What the catalog says of each kind of object, as data: text of SQL is made of it, and nothing is read back out
 * of text, in which a name may look like anything. Names are as SQL writes them, quoted where they must
 * be. What is absent is false, or not there.
 */
export interface FactsOf {
  readonly role: { readonly name: string };
  readonly schema: { readonly name: string };
  readonly extension: { readonly schema: string };
  readonly function: {
    readonly name: string;
    readonly definition: string;
    /** `f` function, `p` procedure, `a` aggregate, `w` window function. */
    readonly sort: string;
    readonly takes: string;
    readonly returns?: string;
  };
  readonly table: { readonly name: string; readonly unlogged?: true };
  readonly column: OnTable & {
    readonly type: string;
    /** Where it is not the type's own. */
    readonly collation?: string;
    readonly default?: string;
    /** The expression that it is computed by. */
    readonly computed?: string;
    readonly stored?: true;
    readonly identity?: "ALWAYS" | "BY DEFAULT";
    readonly notNull?: true;
    /** `not validated`: rows that are there may hold NULL. */
    readonly state?: string;
  };
  readonly "row-level security": {
    readonly table: string;
    readonly enabled?: true;
    readonly forced?: true;
  };
  readonly "primary key": ConstraintFacts;
  readonly "unique constraint": ConstraintFacts;
  readonly check: ConstraintFacts;
  readonly "exclusion constraint": ConstraintFacts;
  readonly "foreign key": ConstraintFacts;
  readonly index: IndexFacts;
  readonly "unique index": IndexFacts;
  readonly statistics: Printed & Standing & { readonly name: string };
  readonly trigger: OnTable &
    Printed &
    Standing & {
      /** `disabled`, `on replicas`, `always` */
      readonly state?: string;
    };
  readonly rule: OnTable & Printed;
  readonly policy: OnTable &
    Standing & {
      readonly permissive?: true;
      readonly command: string;
      /** `PUBLIC`, and roles. */
      readonly roles: readonly string[];
      readonly using?: string;
      readonly check?: string;
    };
  readonly view: {
    readonly name: string;
    readonly query: string;
    readonly materialized?: true;
    /** Who may use a materialized view, but for its owner. */
    readonly users?: readonly string[];
  };
  readonly inheritance: {
    readonly child: string;
    readonly parent: string;
    /** Whether the table that inherits is ours. */
    readonly ours?: true;
    /** Of a partition which rows it takes: `DEFAULT`. */
    readonly bound?: string;
  };
  readonly owner: {
    /** `TABLE public.agent_slas` */
    readonly of: string;
    readonly owner: string;
    /** Who owns most of this package's objects. */
    readonly usual: string;
  };
  /** What is wrong with one, a row each. */
  readonly partition: {
    readonly problem: string;
    readonly repair: readonly string[];
    /** Whether the repair can be refused by no row. */
    readonly safe?: true;
    /** Whether something is not there, rather than wrong. */
    readonly missing?: true;
  };
  readonly comment: { readonly definition: string };
  readonly grant: {
    /** `TABLE public.agent_slas` */
    readonly scope: string;
    /** `PUBLIC`, or a role. */
    readonly grantee: string;
    readonly privileges: string;
    /** What to take when nobody was meant to have any. */
    readonly revoke?: string;
  };
}

interface OnTable {
  readonly table: string;
  readonly name: string;
}

interface ConstraintFacts extends OnTable {
  readonly rule: string;
  readonly notValid?: true;
  /** `disabled`: a trigger of it is. */
  readonly state?: string;
}

interface IndexFacts extends Printed, Standing {
  readonly name: string;
  /** `invalid` */
  readonly state?: string;
  /** Whether it is that of a table that is cut, and has one in each partition. */
  readonly isOfPartitions?: true;
}

/** What PostgreSQL alone can print. */
interface Printed {
  readonly definition: string;
  /** What makes a difference, where the definition says more than that. */
  readonly compared?: unknown;
}

interface Standing {
  /** Columns of ours, or tables as a whole, without which it cannot be made. */
  readonly needs?: readonly (readonly [table: string, column: string | null])[];
}

export type Kind = keyof FactsOf;

/** One object of a database. */
export type CatalogObject<K extends Kind = Kind> = {
  readonly [Each in K]: {
    readonly kind: Each;
    /** What it is called, from the outside in: `["agent_registry", "status"]`. With the kind, whose it is. */
    readonly path: readonly string[];
    readonly facts: FactsOf[Each];
  };
}[K];

/** What tells an object from all others. */
export const keyOf = (kind: string, path: readonly string[]): string =>
  JSON.stringify([kind, ...path]);

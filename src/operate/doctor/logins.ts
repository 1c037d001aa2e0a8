/** Checks of who may log in, and as whom they act. */
import { sql } from "drizzle-orm";
import { textArray } from "../../client/sql.ts";
import { LOGINS, OUR_ROLES } from "../logins.ts";
import { checkOf, error, info, ours, warning } from "./check.ts";

const KNOWN_LOGINS = Object.values(LOGINS).map(({ name }) => name);

/** Every role and those it is made a member of, directly or not. Server versions before 16 have no options. */
const reach = sql`reach (member, role) as (
  select member, roleid from pg_auth_members as m
  where coalesce((to_jsonb(m) ->> 'set_option')::boolean, true) or (to_jsonb(m) ->> 'inherit_option')::boolean
  union select reach.member, m.roleid from reach join pg_auth_members as m on m.member = reach.role)`;

type LoginRow = {
  login: string;
  superuser: boolean;
  bypass: boolean;
  mighty: string | null;
  owner: string | null;
  owns: boolean;
  inherits: string[];
  may: string[];
  /** From 16 on each membership is inherited or not; before, all are. */
  inheritances: string[];
};

/** A login is the application's unless it owns the tables; of Supabase's only `authenticator` is like one, and meant so. */
export const logins = checkOf<LoginRow>(
  "logins",
  ({ isOwner, server }) => sql`
    with recursive ${reach}, operator as (select distinct relowner as oid from ${ours} as ours)
    select quote_ident(rolname) as login, rolsuper as superuser, rolbypassrls as bypass,
      case when rolcreaterole then 'CREATEROLE' when rolreplication then 'REPLICATION' end as mighty,
      (select quote_ident(o.rolname) from operator join pg_roles as o using (oid)
        where role.oid = o.oid or exists (select from reach where member = role.oid and reach.role = o.oid) limit 1) as owner,
      exists (select from pg_shdepend where refclassid = 'pg_authid'::regclass and refobjid = role.oid and deptype = 'o'
        and dbid in (0, (select oid from pg_database where datname = current_database()))) as owns,
      array(select ours from unnest(${textArray(OUR_ROLES)}) as ours where pg_has_role(role.oid, ours, 'USAGE')) as inherits,
      array(select ours from unnest(${textArray(OUR_ROLES)}) as ours
        where pg_has_role(role.oid, ours, ${server >= 160_000 ? "SET" : "MEMBER"})) as may,
      array(select format('GRANT %I TO %I WITH INHERIT FALSE;', r.rolname, role.rolname)
        from pg_auth_members as m join pg_roles as r on r.oid = m.roleid
        where m.member = role.oid and (to_jsonb(m) ->> 'inherit_option')::boolean) as inheritances
    from pg_roles as role
    where rolcanlogin and rolname <> 'authenticator' and case
      when rolname = any (${textArray(KNOWN_LOGINS)}) then true
      when role.oid = (select mode() within group (order by relowner) from ${ours} as ours) then false
      when rolname = current_user then not ${isOwner}::boolean
      else exists (select from reach join pg_roles as r on r.oid = reach.role
        where member = role.oid and r.rolname = any (${textArray(OUR_ROLES)})) end`,
  ({ login, superuser, bypass, mighty, owner, owns, inherits, may, inheritances }) => {
    const disinherit = [...inheritances, `ALTER ROLE ${login} NOINHERIT;`].join(" ");
    // A superuser is a member of everything; the rest of what could be said follows from it.
    if (superuser) {
      return [
        error(
          `the login ${login} is a superuser: row-level security does not apply to it`,
          `ALTER ROLE ${login} NOSUPERUSER;`,
        ),
      ];
    }
    return [
      bypass &&
        error(
          `the login ${login} has BYPASSRLS: row-level security does not apply to it`,
          `ALTER ROLE ${login} NOBYPASSRLS;`,
        ),
      owner !== null &&
        error(
          `the login ${login} ${owner === login ? "owns the tables" : `is a member of ${owner}, who owns the tables`}: row-level security does not apply to their owner`,
          owner === login
            ? `REASSIGN OWNED BY ${login} TO CURRENT_USER;`
            : `REVOKE ${owner} FROM ${login};`,
        ),
      owner !== login &&
        owns &&
        warning(
          `the login ${login} owns objects: no policy holds for their owner`,
          `REASSIGN OWNED BY ${login} TO CURRENT_USER;`,
        ),
      mighty !== null &&
        warning(
          `the login ${login} has ${mighty}, with which it can get past its own limits`,
          `ALTER ROLE ${login} NO${mighty};`,
        ),
      inherits.includes("service_role") &&
        error(
          `the login ${login} inherits service_role: without a switch of role it sees every organization`,
          disinherit,
        ),
      inherits.includes("authenticated") &&
        warning(
          `the login ${login} inherits authenticated: a statement outside of withOrganization finds no rows instead of failing`,
          disinherit,
        ),
      may.includes("service_role") &&
        may.includes("authenticated") &&
        warning(
          `the login ${login} may act as authenticated and as service_role: a hole in the application opens every organization`,
          `REVOKE service_role FROM ${login};`,
        ),
      may.length === 0 &&
        warning(
          `the login ${login} may act neither as authenticated nor as service_role`,
          `ALTER ROLE ${login} NOINHERIT; GRANT authenticated, anon TO ${login};`,
        ),
    ].filter((result) => result !== false);
  },
);

/** The operator's own login cannot be told from an application that wrongly uses it: both are said. */
export const operator = checkOf<{ application: boolean }>(
  "logins",
  () => sql`
    with recursive ${reach}
    select exists (select from reach join pg_roles as l on l.oid = member join pg_roles as r on r.oid = reach.role
      where l.rolcanlogin and r.rolname = 'authenticated' and not l.rolsuper) as application`,
  ({ application }, { isOwner, login }) => [
    ...(isOwner
      ? [
          info(
            `${login} owns the tables, so row-level security does not apply to it: it is for migrations, not for the application`,
            "Run doctor with the application's DATABASE_URL too.",
          ),
        ]
      : []),
    ...(application
      ? []
      : [info("no login may act as authenticated", "meta-agent-db roles --apply")]),
  ],
  { server: true },
);

export const roles = checkOf<{ role: string; trait: string; grave: boolean; repair: string }>(
  "roles",
  () => sql`
    with recursive ${reach}, tenant as (select * from pg_roles where rolname = any (${textArray(OUR_ROLES)}))
    select distinct member.rolname as role, 'is a member of ' || role.rolname as trait,
      member.rolname <> 'service_role' and (role.rolname = 'service_role' or role.rolsuper or role.rolbypassrls
        or role.oid in (select relowner from ${ours} as ours)) as grave,
      format('REVOKE %I FROM %I;', role.rolname, member.rolname) as repair
    from reach join tenant as member on member.oid = reach.member join pg_roles as role on role.oid = reach.role
    union all
    select rolname, 'is a superuser', true, format('ALTER ROLE %I NOSUPERUSER;', rolname) from tenant where rolsuper
    union all
    select rolname, 'has BYPASSRLS', true, format('ALTER ROLE %I NOBYPASSRLS;', rolname) from tenant
      where rolbypassrls and rolname <> 'service_role'
    union all
    select rolname, 'may log in', false, format('ALTER ROLE %I NOLOGIN;', rolname) from tenant where rolcanlogin
      -- Citus asks its workers as them.
      and current_setting('citus.propagate_set_commands', true) is distinct from 'local'
    order by 1, 2`,
  ({ role, trait, grave, repair }) => [
    (grave ? error : warning)(`the role ${role} ${trait}, and so everybody who acts as it`, repair),
  ],
);

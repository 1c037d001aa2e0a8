import { readFileSync } from "node:fs";

/** Types of what the queries of this package give to functions and operators. */
const TYPES = [
  "text",
  "name",
  `"char"`,
  "oid",
  "regclass",
  "regtype",
  "regrole",
  "smallint",
  "integer",
  "bigint",
  "real",
  "double precision",
  "numeric",
  "boolean",
  "uuid",
  "jsonb",
  "timestamptz",
  "text[]",
  "name[]",
  "oid[]",
  "smallint[]",
  "int2vector",
];

const SECONDS = ["text", "name", "integer", "bigint", "oid"];
const OPERATORS = ["||", "=", "<>", ">", "@>", "/", "*", "~"];

/**
 * SQL that puts into schema public, for every function of the server that these files may call, ones of the
 * same name and of exact types, and the like for operators. Each raises when it is called; a call that found
 * a plain function instead of an aggregate is refused by PostgreSQL.
 * @param files below `src`
 * @param spared operators that are left alone
 */
export function planted(files: readonly string[], spared: readonly string[] = []): string {
  const text = files
    .map((file) => readFileSync(new URL(`../src/${file}`, import.meta.url), "utf8"))
    .join("\n");
  const words = new Set(Array.from(text.matchAll(/\b([a-z_0-9]+)\(/g), ([, word = ""]) => word));
  const list = (values: Iterable<string>) =>
    `array[${Array.from(values, (value) => `'${value}'`).join(", ")}]`;
  return `
    create function pg_temp.plant(signature text, result text) returns void language plpgsql as $$ begin
      execute pg_catalog.format('create function public.%s returns %s language plpgsql as %L', signature, result,
        'begin raise exception ''planted: ' operator(pg_catalog.||) signature operator(pg_catalog.||) '''; end');
    end $$;
    do $$
    declare word text; one text; two text;
    begin
      perform pg_catalog.set_config('search_path', 'pg_catalog, public', true);
      for word in select distinct proname::text from pg_proc
        where pronamespace = 'pg_catalog'::regnamespace and proname = any (${list(words)}) loop
        foreach one in array ${list(TYPES)} loop
          perform pg_temp.plant(format('%I(%s)', word, one), 'text');
          foreach two in array ${list(SECONDS)} loop
            perform pg_temp.plant(format('%I(%s, %s)', word, one, two), 'text');
          end loop;
        end loop;
        if word = 'count' and to_regtype('public.vector') is not null then
          perform pg_temp.plant('count(public.vector)', 'text');
        end if;
      end loop;
      foreach one in array ${list(TYPES)} loop
        foreach two in array ${list(TYPES)} loop
          perform pg_temp.plant(format('planted_text(%s, %s)', one, two), 'text');
          perform pg_temp.plant(format('planted_boolean(%s, %s)', one, two), 'boolean');
          foreach word in array ${list(OPERATORS.filter((operator) => !spared.includes(operator)))} loop
            execute format('create operator public.%s (function = public.planted_%s, leftarg = %s, rightarg = %s)',
              word, case when word in ('||', '/', '*') then 'text' else 'boolean' end, one, two);
          end loop;
        end loop;
      end loop;
      perform pg_catalog.set_config('search_path', '"$user", public', true);
    end $$`;
}

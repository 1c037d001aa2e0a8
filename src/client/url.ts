/** The URL of a database, as other tools and providers write it. It holds a password: no error repeats it. */
import { partsOfDatabaseUrl } from "../config.ts";

/**
 * Parameters that libpq, Prisma or a provider understands and neither postgres.js nor a server: sent on,
 * PostgreSQL would refuse the connection.
 */
const FOREIGN = new Set([
  // libpq
  ...["channel_binding", "gssencmode", "gssdelegation", "gsslib", "krbsrvname", "require_auth"],
  ...["sslcert", "sslkey", "sslpassword", "sslcrl", "sslcrldir", "sslrootcert", "sslcompression"],
  ...["sslsni", "ssl_min_protocol_version", "ssl_max_protocol_version", "passfile", "service"],
  ...["requirepeer", "load_balance_hosts", "hostaddr", "keepalives", "keepalives_idle"],
  ...["keepalives_interval", "keepalives_count", "tcp_user_timeout", "fallback_application_name"],
  // Prisma
  ...["schema", "pgbouncer", "connection_limit", "pool_timeout", "socket_timeout", "sslidentity"],
  ...["sslaccept", "statement_cache_size", "single_use_connections"],
  // providers
  ...["supa", "workaround", "pool_mode", "pool", "uselibpqcompat", "endpoint"],
]);

/** What a connection needs of a URL. */
export interface DatabaseUrl {
  /** The URL without the parameters that mean nothing here. */
  readonly url: string;
  /** Names of those. */
  readonly ignored: readonly string[];
  /** Scheme, user, hosts, database. */
  readonly label: string;
  readonly hasOneHost: boolean;
}

/** @throws {TypeError} when `url` is not `postgres://…`; the message does not repeat it */
export function readUrl(url: string): DatabaseUrl {
  const [, scheme, user, , hosts = "", database = ""] = partsOfDatabaseUrl(url) ?? [];
  if (!scheme) throw malformedUrl();
  const [address = "", query = ""] = url.split("?", 2);
  const parameters = query === "" ? [] : query.split("&");
  const nameOf = (parameter: string) => decodeURIComponent(parameter.split("=", 1)[0] ?? "");
  // The one certificate that postgres.js knows by name: the system's.
  const isForeign = (parameter: string) =>
    FOREIGN.has(nameOf(parameter)) && parameter !== "sslrootcert=system";
  const kept = parameters.filter((parameter) => !isForeign(parameter));
  return {
    url: kept.length > 0 ? `${address}?${kept.join("&")}` : address,
    ignored: parameters.filter(isForeign).map(nameOf),
    label: `${scheme}${user ? `${user}@` : ""}${hosts}${database}`,
    hasOneHost: !(hosts || (process.env["PGHOST"] ?? "")).includes(","),
  };
}

const malformedUrl = () =>
  new TypeError(
    "database URL: expected postgres://user:password@host:5432/database, special characters of the password percent-encoded",
  );

/**
 * The URL of another database of the same server.
 * @throws {TypeError} as {@link readUrl}
 */
export function siblingUrl(serverUrl: string, database: string): string {
  const [server = "", query] = readUrl(serverUrl).url.split("?", 2);
  const hosts = server.replace(/(?<!\/)\/(?!\/).*$/, "");
  return `${hosts}/${encodeURIComponent(database)}${query === undefined ? "" : `?${query}`}`;
}

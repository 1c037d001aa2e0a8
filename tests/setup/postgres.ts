import { GenericContainer, type StartedTestContainer, Wait } from "testcontainers";

// Testcontainers' reaper is one more image to pull; what starts a container here stops it.
process.env["TESTCONTAINERS_RYUK_DISABLED"] ??= "true";

/** PostgreSQL with pgvector. POSTGRES_IMAGE names another, such as pgvector/pgvector:pg15. */
const IMAGE = process.env["POSTGRES_IMAGE"] || "pgvector/pgvector:pg17";

/** A server in a container; `url` is its superuser's. */
export interface StartedPostgres {
  readonly url: string;
  readonly container: StartedTestContainer;
}

type Settings = Readonly<Record<string, string>>;

/**
 * Starts one for tests: all that it holds is in memory, since each test file has databases of its own made
 * and dropped, and no statement is compiled, which takes longer than to run the many-armed ones of the attacks.
 */
export function startTestPostgres(
  settings: Settings = {},
  superuser = "postgres",
): Promise<StartedPostgres> {
  return startIn(
    new GenericContainer(IMAGE).withTmpFs({ "/var/lib/postgresql/data": "rw" }),
    { fsync: "off", full_page_writes: "off", jit: "off", ...settings },
    superuser,
  );
}

/** Starts one as it is found elsewhere. */
export function startPostgres(settings: Settings): Promise<StartedPostgres> {
  return startIn(new GenericContainer(IMAGE), settings, "postgres");
}

async function startIn(
  image: GenericContainer,
  settings: Settings,
  superuser: string,
): Promise<StartedPostgres> {
  const container = await image
    .withEnvironment({
      POSTGRES_USER: superuser,
      POSTGRES_PASSWORD: "test",
      POSTGRES_DB: "postgres",
      POSTGRES_INITDB_ARGS: "--no-sync",
    })
    .withCommand([
      "postgres",
      ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
    ])
    .withSharedMemorySize(1024 ** 3)
    // 5433 is for a second server that a test starts inside.
    .withExposedPorts(5432, 5433)
    // While it initializes, the server listens on its socket only.
    .withWaitStrategy(Wait.forSuccessfulCommand(`pg_isready -h 127.0.0.1 -U ${superuser}`))
    .start();
  const url = `postgres://${superuser}:test@${container.getHost()}:${container.getMappedPort(5432)}/postgres`;
  return { url, container };
}

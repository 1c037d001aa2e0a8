import { GenericContainer, type StartedTestContainer, Wait } from "testcontainers";

// Testcontainers' reaper is one more image to pull; what starts a container here stops it.
process.env["TESTCONTAINERS_RYUK_DISABLED"] ??= "true";

/** PostgreSQL with pgvector. POSTGRES_IMAGE names another, such as pgvector/pgvector:pg15. */
const IMAGE = process.env["POSTGRES_IMAGE"] || "pgvector/pgvector:pg17";

/** Starts one in a container; `url` is its superuser's. */
export async function startPostgres(
  settings: Readonly<Record<string, string>>,
  superuser = "postgres",
): Promise<{ url: string; container: StartedTestContainer }> {
  const container = await new GenericContainer(IMAGE)
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

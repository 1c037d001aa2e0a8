import { defineConfig } from "vitest/config";

// Every file in tests/ runs twice, on the embedded PostgreSQL and on a container; what is in
// tests/container needs real sessions, what is in tests/unit no database at all.
export default defineConfig({
  test: {
    testTimeout: 120_000,
    hookTimeout: 240_000,
    maxWorkers: 2,
    // A process for each file compiles PGlite and loads every module anew: a third of the CPU of the whole suite.
    isolate: false,
    // To optimize WebAssembly takes longer than it wins: a tenth of the CPU of the embedded databases.
    execArgv: ["--liftoff-only"],
    // Tests that run at once wait for timeouts.
    maxConcurrency: 10,
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["tests/unit/*.test.ts"],
          globalSetup: "tests/setup/built.ts",
        },
      },
      {
        extends: true,
        test: {
          name: "embedded",
          include: ["tests/*.test.ts", "tests/embedded/*.test.ts", "examples/*.test.ts"],
          globalSetup: ["tests/setup/built.ts", "tests/setup/embedded.ts"],
          env: { TEST_ENGINE: "embedded" },
        },
      },
      {
        extends: true,
        test: {
          name: "container",
          include: ["tests/*.test.ts", "tests/container/*.test.ts"],
          globalSetup: ["tests/setup/built.ts", "tests/setup/container.ts"],
          env: { TEST_ENGINE: "container" },
          // One of them waits, for the server or a timeout. Vitest wants another number in a group of its own.
          maxWorkers: 3,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});

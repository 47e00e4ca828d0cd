// Starts build/penstock on a free port of loopback with a data directory of its own, and stops it by its process id.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const binary = process.env.PENSTOCK_BIN ?? fileURLToPath(new URL("../../../build/penstock", import.meta.url));

export async function startServer(...options) {
  const dataDir = mkdtempSync(join(tmpdir(), "penstock-js-"));
  const child = spawn(binary, ["--listen", "127.0.0.1:0", "--data-dir", dataDir, "--print-ready", "--log-level", "warn", ...options], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = new Promise((resolve) => child.once("exit", (code) => resolve(code)));
  const line = await new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).once("line", resolve);
    child.once("exit", (code) => reject(new Error(`penstock ended with ${code} before it was ready`)));
  });
  const port = Number(line.trim().split(":").pop());
  return {
    port,
    ca: () => readFileSync(join(dataDir, "tls", "ca.pem")),
    stop: async () => {
      child.kill("SIGTERM");
      const code = await exited;
      rmSync(dataDir, { recursive: true, force: true });
      return code;
    },
  };
}

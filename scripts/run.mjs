/**
 * Runs a TypeScript file of the project in Node: `node scripts/run.mjs <file.ts> [arguments]`. The file exports `main(args)`, which may
 * import more while it runs.
 */
import { resolve } from 'node:path'
import { createServer, createServerModuleRunner } from 'vite'

const [file, ...args] = process.argv.slice(2)
if (file === undefined) throw new Error('run.mjs needs the path of a TypeScript file that exports main(args)')
const server = await createServer({
  configFile: false,
  logLevel: 'error',
  appType: 'custom',
  server: { middlewareMode: true, hmr: false, ws: false, watch: null },
  optimizeDeps: { noDiscovery: true },
})
const runner = createServerModuleRunner(server.environments.ssr, { hmr: false })
try {
  const { main } = await runner.import(resolve(file))
  process.exitCode = (await main(args)) ?? 0
} finally {
  await runner.close()
  await server.close()
}

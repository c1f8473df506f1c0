/** Runs a TypeScript file of the project in Node: `node scripts/run.mjs <file.ts> [arguments]`. The file exports `main(args)`. */
import { resolve } from 'node:path'
import { runnerImport } from 'vite'

const [file, ...args] = process.argv.slice(2)
if (file === undefined) throw new Error('run.mjs needs the path of a TypeScript file that exports main(args)')
const { module } = await runnerImport(resolve(file), { configFile: false, logLevel: 'error' })
process.exitCode = (await module.main(args)) ?? 0

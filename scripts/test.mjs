/**
 * `npm test`: installs what is missing, then runs every check of the project, some side by side, and says in the end how many tests
 * passed. `npm test -- <name> …` runs only the named checks. A check that fails does not stop the others.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { chdir } from 'node:process'
import { fileURLToPath } from 'node:url'
import { ensureChromium } from './chromium.mjs'
import { ensureDependencies } from './setup.mjs'

chdir(fileURLToPath(new URL('..', import.meta.url)))
const reports = 'test-results/reports'
/**
 * @param {string} project
 * @param {1 | 2} [half] of its files
 */
const vitest = (project, half) => {
  const report = `${reports}/${project}${half ?? ''}.json`
  const command = ['node_modules/vitest/vitest.mjs', 'run', '--project', project, '--reporter=default', '--reporter=json']
  return { command: [...command, `--outputFile.json=${report}`, ...(half === undefined ? [] : [`--shard=${half}/2`])], report }
}

/** @param {string} project */
const playwright = (project) => ({
  command: ['node_modules/@playwright/test/cli.js', 'test', '--project', project],
  report: `${reports}/e2e-${project}.json`,
})
/** @param {string[]} args */
const parity = (...args) => ({
  command: ['scripts/run.mjs', 'e2e/parity/run.ts', '--device', ...args],
  report: `${reports}/parity-${args[0]}.json`,
})

/**
 * Each check: the Node command, and where it reports how many tests ran, if it counts any.
 * @type {Record<string, { command: string[], report?: string }>}
 */
const checks = {
  lint: { command: ['node_modules/oxlint/bin/oxlint', '--type-aware', '--deny-warnings', '.'] },
  format: { command: ['node_modules/oxfmt/bin/oxfmt', '--check', '.'] },
  'types-worker': { command: ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.worker.json'] },
  'types-dom': { command: ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.dom.json'] },
  'types-node': { command: ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.node.json'] },
  unused: { command: ['node_modules/knip/bin/knip.js'] },
  api: { command: ['scripts/run.mjs', 'scripts/api-reference.ts', '--check'] },
  'error-codes': { command: ['scripts/run.mjs', 'scripts/error-reference.ts', '--check'] },
  'model-tables': { command: ['scripts/run.mjs', 'scripts/model-tables.ts', '--check'] },
  'memory-tables': { command: ['scripts/run.mjs', 'bench/memory.ts', '--check'] },
  build: { command: ['node_modules/vite/bin/vite.js', 'build', '--logLevel', 'warn'] },
  size: { command: ['scripts/size.mjs', '--check'] },
  unit: vitest('node'),
  'browser-1': vitest('browser', 1),
  'browser-2': vitest('browser', 2),
  'parity-wasm': parity('wasm'),
  'parity-webgpu': parity('webgpu', '--quick'),
  e2e: playwright('site'),
  'e2e-alone': playwright('alone'),
}

/** Which checks run side by side: stages one after the other, each of lanes that begin together. None of those beside another holds a time. */
const stages = [
  [
    [
      'lint',
      'format',
      'types-worker',
      'types-dom',
      'types-node',
      'unused',
      'api',
      'error-codes',
      'model-tables',
      'memory-tables',
      'build',
      'size',
    ],
  ],
  [
    ['browser-1', 'parity-webgpu', 'parity-wasm'],
    ['browser-2', 'unit'],
  ],
  [['e2e']],
  [['e2e-alone']],
]

const chosen = process.argv.slice(2)
for (const name of chosen) {
  if (!(name in checks)) throw new Error(`Unknown check '${name}'; the checks are: ${Object.keys(checks).join(', ')}`)
}

ensureDependencies()
ensureChromium()
rmSync(reports, { recursive: true, force: true })
mkdirSync(reports, { recursive: true })

const totals = { passed: 0, failed: 0, skipped: 0 }
/** @type {string[]} */
const failedChecks = []
for (const stage of stages) {
  const lanes = stage
    .map((lane) => lane.filter((name) => chosen.length === 0 || chosen.includes(name)))
    .filter((lane) => lane.length > 0)
  // What runs alone is seen as it runs; side by side, each is told whole when it is over.
  const print = lanes.length < 2
  await Promise.all(
    lanes.map(async (lane) => {
      for (const name of lane) await runCheck(name, print)
    }),
  )
}

/**
 * @param {string} name
 * @param {boolean} live
 */
async function runCheck(name, live) {
  const check = checks[name]
  if (check === undefined) throw new Error(`There is no check ${name}`)
  const { command, report } = check
  const started = performance.now()
  console.log(live ? `\n── ${name}` : `── ${name} begins`)
  const { status, output } = await run(name, command, live, report)
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  const counts =
    report === undefined ? { passed: status === 0 ? 1 : 0, failed: status === 0 ? 0 : 1, skipped: 0 } : readCounts(report)
  if (status !== 0) failedChecks.push(name)
  if (status !== 0 && counts.failed === 0) counts.failed = 1
  totals.passed += counts.passed
  totals.failed += counts.failed
  totals.skipped += counts.skipped
  if (!live) console.log(`\n── ${name}\n${output}`)
  console.log(`${status === 0 ? 'ok' : 'FAILED'}  ${name}: ${counts.passed} passed, ${counts.failed} failed in ${seconds} s`)
}

/**
 * Runs Node. Resolves to its exit status, and to what it said unless it said so itself.
 * @param {string} name
 * @param {string[]} command
 * @param {boolean} live
 * @param {string | undefined} report
 * @returns {Promise<{ status: number | null, output: string }>}
 */
function run(name, command, live, report) {
  const env = {
    ...process.env,
    AQUATINT_CHECK: name,
    AQUATINT_REPORTS: reports,
    ...(report === undefined ? {} : { PLAYWRIGHT_JSON_OUTPUT_FILE: report }),
  }
  const child = spawn(process.execPath, command, { stdio: live ? 'inherit' : ['ignore', 'pipe', 'pipe'], env })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', (text) => (output += text))
  return new Promise((resolve) => child.on('close', (status) => resolve({ status, output })))
}

if (failedChecks.length > 0) console.log(`\nFailed: ${failedChecks.join(', ')}`)
console.log(`\n${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`)
process.exitCode = failedChecks.length > 0 ? 1 : 0

/**
 * Counts of a vitest, Playwright or parity report; a missing or empty one is a failure.
 * @param {string} path
 */
function readCounts(path) {
  if (!existsSync(path)) return { passed: 0, failed: 1, skipped: 0 }
  const report = JSON.parse(readFileSync(path, 'utf8'))
  const counts =
    report.stats !== undefined
      ? { passed: report.stats.expected, failed: report.stats.unexpected + report.stats.flaky, skipped: report.stats.skipped }
      : { passed: report.numPassedTests, failed: report.numFailedTests, skipped: report.numPendingTests }
  return counts.passed === 0 && counts.failed === 0 ? { ...counts, failed: 1 } : counts
}

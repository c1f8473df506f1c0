/**
 * `npm test`: installs what is missing, then runs every check of the project one after the other and says in the end how many tests
 * passed. `npm test -- <name> …` runs only the named checks. A check that fails does not stop the others.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { chdir } from 'node:process'
import { fileURLToPath } from 'node:url'
import { ensureChromium } from './chromium.mjs'
import { ensureDependencies } from './setup.mjs'

chdir(fileURLToPath(new URL('..', import.meta.url)))
const reports = 'test-results/reports'
/** @param {string} project */
const vitest = (project) => ({
  command: [
    'node_modules/vitest/vitest.mjs',
    'run',
    '--project',
    project,
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${reports}/${project}.json`,
  ],
  report: `${reports}/${project}.json`,
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
  'memory-tables': { command: ['scripts/run.mjs', 'bench/memory.ts', '--check'] },
  unit: vitest('node'),
  browser: vitest('browser'),
  build: { command: ['node_modules/vite/bin/vite.js', 'build', '--logLevel', 'warn'] },
  size: { command: ['scripts/size.mjs', '--check'] },
  package: { command: ['scripts/check-package.mjs'] },
  e2e: { command: ['node_modules/@playwright/test/cli.js', 'test'], report: `${reports}/e2e.json` },
  'parity-wasm': { command: ['scripts/run.mjs', 'e2e/parity/run.ts', '--device', 'wasm'], report: `${reports}/parity-wasm.json` },
  'parity-webgpu': {
    command: ['scripts/run.mjs', 'e2e/parity/run.ts', '--device', 'webgpu', '--quick'],
    report: `${reports}/parity-webgpu.json`,
  },
}

const chosen = process.argv.slice(2)
for (const name of chosen) {
  if (!(name in checks)) throw new Error(`Unknown check '${name}'; the checks are: ${Object.keys(checks).join(', ')}`)
}

ensureDependencies()
ensureChromium()
rmSync(reports, { recursive: true, force: true })
mkdirSync(reports, { recursive: true })

const totals = { passed: 0, failed: 0, skipped: 0 }
const failedChecks = []
for (const [name, { command, report }] of Object.entries(checks)) {
  if (chosen.length > 0 && !chosen.includes(name)) continue
  const started = performance.now()
  console.log(`\n── ${name}`)
  const run = spawnSync(process.execPath, command, { stdio: 'inherit', env: { ...process.env, AQUATINT_REPORTS: reports } })
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  const counts =
    report === undefined ? { passed: run.status === 0 ? 1 : 0, failed: run.status === 0 ? 0 : 1, skipped: 0 } : readCounts(report)
  if (run.status !== 0) failedChecks.push(name)
  if (run.status !== 0 && counts.failed === 0) counts.failed = 1
  totals.passed += counts.passed
  totals.failed += counts.failed
  totals.skipped += counts.skipped
  console.log(`${run.status === 0 ? 'ok' : 'FAILED'}  ${name}: ${counts.passed} passed, ${counts.failed} failed in ${seconds} s`)
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

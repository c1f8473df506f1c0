/**
 * `npm test`: installs what is missing, then runs every check of the project, three at a time, and prints in the end how many tests passed.
 * `npm run check` runs only the fast ones. `npm test -- <name> …` runs only the named checks. A check that fails does not stop the
 * others.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { chdir } from 'node:process'
import { fileURLToPath } from 'node:url'
import { ensureChromium } from './chromium.mjs'
import { ensureFirefox, systemFirefox } from './firefox.mjs'
import { freePort } from './free-port.mjs'
import { ensureDependencies } from './setup.mjs'
import { ensureWebKit, systemWebKit } from './webkit.mjs'

chdir(fileURLToPath(new URL('..', import.meta.url)))
const reports = 'test-results/reports'
/**
 * @param {string} name of the check
 * @param {string} project of vitest.config.ts
 * @param {string[]} files that the names of its tests' files contain
 */
const vitest = (name, project, ...files) => {
  const report = `${reports}/${name}.json`
  const command = [
    'node_modules/vitest/vitest.mjs',
    'run',
    ...files,
    '--project',
    project,
    '--reporter=default',
    '--reporter=json',
  ]
  return { command: [...command, `--outputFile.json=${report}`], report }
}

/**
 * @param {string} name of the check
 * @param {string[]} projects of playwright.config.ts
 */
const playwright = (name, ...projects) => ({
  command: ['node_modules/@playwright/test/cli.js', 'test', ...projects.flatMap((project) => ['--project', project])],
  report: `${reports}/${name}.json`,
})

/** @param {'wasm' | 'webgpu'} device */
const parity = (device) => ({
  command: ['scripts/run.mjs', 'e2e/parity/run.ts', '--quick', '--device', device],
  report: `${reports}/parity-${device}.json`,
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
  pack: playwright('pack', 'pack'),
  size: { command: ['scripts/size.mjs', '--check'] },
  unit: vitest('unit', 'node'),
  'unit-slow': vitest('unit-slow', 'slow'),
  smoke: vitest('smoke', 'smoke'),
  pipelines: vitest('pipelines', 'pipelines'),
  browser: vitest('browser', 'browser'),
  isolated: vitest('isolated', 'isolated'),
  chromium: vitest('chromium', 'chromium'),
  'parity-wasm': parity('wasm'),
  e2e: playwright('e2e', 'site'),
  browsers: playwright('browsers', 'firefox', 'webkit'),
  'e2e-alone': playwright('e2e-alone', 'alone'),
}

/** What `npm run check` runs: the checks that show within a minute whether a change is right. The longest begin first. */
const innerLoop = ['unit', 'smoke', 'lint', 'types-node', 'types-worker', 'types-dom', 'format']

/**
 * What `npm test` runs, in stages one after the other. The checks of a stage are started in this order, three at a time: most take one core,
 * but the browsers wait for their GPU process for most of the time, so that three keep two cores busy. The longest begin first. No check
 * depends on the time that it takes.
 */
const everything = [
  // The specs and `size` look at the built site, and specs at the packed library. The check `pack` runs in Playwright, which serves the
  // site, so `build` comes first.
  ['build'],
  ['pack'],
  [
    'browser',
    // Playwright runs two specs at a time itself. Beside the other checks it fills the cores until `browser` ends.
    'e2e',
    'unit-slow',
    'unit',
    'e2e-alone',
    'browsers',
    'isolated',
    'pipelines',
    'chromium',
    'parity-wasm',
    'lint',
    'types-node',
    'types-worker',
    'types-dom',
    'api',
    'error-codes',
    'model-tables',
    'memory-tables',
    'size',
    'unused',
    'format',
  ],
]

const given = process.argv.slice(2)
const chosen = given[0] === '--inner-loop' ? innerLoop : given
for (const name of chosen) {
  if (!(name in checks)) throw new Error(`Unknown check '${name}'; the checks are: ${Object.keys(checks).join(', ')}`)
}

ensureDependencies()
ensureChromium()
ensureFirefox()
if (chosen.length === 0 || chosen.includes('browsers')) ensureWebKit()
rmSync(reports, { recursive: true, force: true })
mkdirSync(reports, { recursive: true })

const totals = { passed: 0, failed: 0, skipped: 0 }
/** @type {string[]} */
const failedChecks = []
/** The skipped tests of the Playwright reports, each with its project and reason. @type {Set<string>} */
const skippedChecks = new Set()
for (const stage of chosen === innerLoop ? [innerLoop] : everything) {
  const waiting = stage.filter((name) => chosen.length === 0 || chosen.includes(name))
  // The output of a check that runs alone is shown while it runs; that of others when they end.
  const live = waiting.length < 2
  const lane = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) await runCheck(name, live)
  }
  await Promise.all([lane(), lane(), lane()])
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
  const { status, output } = await run(name, command, live, { report, ports: [await freePort(), await freePort()] })
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  const counts =
    report === undefined ? { passed: status === 0 ? 1 : 0, failed: status === 0 ? 0 : 1, skipped: 0 } : readCounts(report)
  if (status !== 0) failedChecks.push(name)
  if (status !== 0 && counts.failed === 0) counts.failed = 1
  totals.passed += counts.passed
  totals.failed += counts.failed
  totals.skipped += counts.skipped
  if (!live) console.log(`\n── ${name}\n${output}`)
  const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : ''
  console.log(
    `${status === 0 ? 'ok' : 'FAILED'}  ${name}: ${counts.passed} passed, ${counts.failed} failed${skipped} in ${seconds} s`,
  )
}

/**
 * Runs Node. Resolves to its exit status and its output. The output is empty if it was shown while Node ran (`live`).
 * @param {string} name
 * @param {string[]} command
 * @param {boolean} live
 * @param {{ report: string | undefined, ports: number[] }} where it reports, and where Playwright serves the site
 * @returns {Promise<{ status: number | null, output: string }>}
 */
function run(name, command, live, { report, ports: [sitePort, plainPort] }) {
  const env = {
    ...process.env,
    AQUATINT_CHECK: name,
    AQUATINT_REPORTS: reports,
    AQUATINT_SITE_PORT: String(sitePort),
    AQUATINT_PLAIN_PORT: String(plainPort),
    // The check `pack` has packed the library.
    ...(chosen.length === 0 && name !== 'pack' ? { AQUATINT_PACKED: '1' } : {}),
    // With `npm run check` the unit tests are most of the work, so they get both cores.
    ...(chosen === innerLoop ? { VITEST_MAX_WORKERS: '2' } : {}),
    ...(report === undefined ? {} : { PLAYWRIGHT_JSON_OUTPUT_FILE: report }),
  }
  const child = spawn(process.execPath, command, { stdio: live ? 'inherit' : ['ignore', 'pipe', 'pipe'], env })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', (text) => (output += text))
  return new Promise((resolve) => child.on('close', (status) => resolve({ status, output })))
}

if (failedChecks.length > 0) console.log(`\nFailed: ${failedChecks.join(', ')}`)
if (systemFirefox() === undefined)
  console.log(
    '\nFirefox 153 or its software GPU was not found, so `browser` and `isolated` ran in Chromium: slower, and without float16.' +
      ' `browsers` skipped the specs of Firefox.',
  )
if (systemWebKit() === undefined) console.log('\nWebKitGTK was not found, so `browsers` skipped the specs of WebKit.')
for (const reason of skippedChecks) console.log(`\nNot checked: ${reason}`)
console.log(`\n${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`)
process.exitCode = failedChecks.length > 0 ? 1 : 0

/**
 * Counts of a vitest, Playwright or parity report; a missing or empty one is a failure.
 * @param {string} path
 */
function readCounts(path) {
  if (!existsSync(path)) return { passed: 0, failed: 1, skipped: 0 }
  const report = JSON.parse(readFileSync(path, 'utf8'))
  if (report.suites !== undefined) report.suites.forEach(noteSkipped)
  const counts =
    report.stats !== undefined
      ? { passed: report.stats.expected, failed: report.stats.unexpected + report.stats.flaky, skipped: report.stats.skipped }
      : { passed: report.numPassedTests, failed: report.numFailedTests, skipped: report.numPendingTests }
  return counts.passed === 0 && counts.failed === 0 ? { ...counts, failed: 1 } : counts
}

/**
 * The parts of a Playwright report that {@link noteSkipped} reads.
 * @typedef {{ projectName: string, status: string, annotations: readonly { type: string, description?: string }[] }} Test
 * @typedef {{ suites?: readonly Suite[], specs?: readonly { title: string, tests: readonly Test[] }[] }} Suite
 */

/**
 * Records each skipped test of a Playwright report, with its project and its reason.
 * @param {Suite} suite
 */
function noteSkipped({ suites = [], specs = [] }) {
  suites.forEach(noteSkipped)
  for (const { title, tests } of specs) {
    for (const { projectName, status, annotations } of tests) {
      if (status !== 'skipped') continue
      const why = annotations.find(({ type }) => type === 'skip')?.description ?? ''
      skippedChecks.add(`in ${projectName}, "${title}": ${why}`)
    }
  }
}

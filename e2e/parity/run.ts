/**
 * `npm run parity -- [--fixtures DIR] [--browser chromium|firefox|webkit] [--device wasm|webgpu] [--dtype float32|float16]
 * [--offload MODE] [--only NAME] [--quick]`
 *
 * Runs every fixture below DIR in a browser through the public API, with its repository served by the Hub look-alike, and compares every
 * tensor in `reference*.safetensors`, which diffusers wrote. The exit status is 1 if a tensor is out of tolerance or was not compared. In float16, the cases
 * and tensors are those of fixtures/float16.json, which says how far PyTorch's own float16 is from the reference.
 *
 * Without `--browser`, WebGPU runs in Firefox where it is installed: its software GPU is several times as fast as Chromium's, and has
 * float16. Everything else runs in Chromium.
 */
import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { build, preview } from 'vite'
import { ensureChromium } from '../../scripts/chromium.mjs'
import { parseReference, type FixtureCase } from '../../src/pipelines/testing-cases.js'
import { engines } from '../browsers/drivers/engines.js'
import type { EngineName, Tab } from '../browsers/drivers/types.js'
import { startHubServer } from '../hub-server/server.js'
import float16 from '../../fixtures/float16.json' with { type: 'json' }
import { compareTensor, describe, float16LimitOf, limitOf, type Comparison, type OwnErrors, type Tensor } from './compare.js'
import type { ParitySettings, TransferredTensor } from './protocol.js'

interface Job {
  readonly name: string
  readonly folder: string
  readonly repository: string
  readonly item: FixtureCase
  readonly reference: string
  /** PyTorch's own errors in float16, to compare with; undefined if PyTorch was not measured. */
  readonly own: OwnErrors | undefined
}

const ownErrors: Readonly<Partial<Record<string, OwnErrors>>> = float16

/** Runs all cases. Returns the exit status. */
export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      fixtures: { type: 'string', default: 'fixtures' },
      browser: { type: 'string' },
      device: { type: 'string', default: 'wasm' },
      dtype: { type: 'string', default: 'float32' },
      offload: { type: 'string', default: 'model' },
      only: { type: 'string' },
      quick: { type: 'boolean', default: false },
    },
  })
  const device = oneOf('--device', values.device, ['wasm', 'webgpu'] as const)
  const engine = engines[chooseBrowser(values.browser, device)]
  const dtype = oneOf('--dtype', values.dtype, ['float32', 'float16'] as const)
  const offload = oneOf('--offload', values.offload, ['auto', 'resident', 'model', 'block'] as const)

  const jobs = findJobs(resolve(values.fixtures), values.quick && dtype === 'float32').filter(
    (job) => (values.only === undefined || job.name.includes(values.only)) && (dtype === 'float32' || job.own !== undefined),
  )
  if (jobs.length === 0) throw new Error(`No fixture (a folder with case.json) below ${values.fixtures}`)
  if (engine.name === 'chromium') ensureChromium()
  const missing = engine.missing()
  if (missing !== undefined) throw new Error(`--browser ${engine.name}: ${missing}`)

  const root = dirname(fileURLToPath(import.meta.url))
  const outDir = resolve(root, '../../dist/parity')
  await build({
    root,
    configFile: false,
    base: './',
    logLevel: 'error',
    worker: { format: 'es' },
    build: { outDir, emptyOutDir: true, target: 'es2023' },
  })
  const site = await preview({
    root,
    configFile: false,
    logLevel: 'error',
    build: { outDir },
    preview: { port: 0, host: '127.0.0.1' },
  })
  const address = site.resolvedUrls?.local[0]
  if (address === undefined) throw new Error('The parity page is not being served')

  const hub = await startHubServer({ repositories: Object.fromEntries(jobs.map((job) => [repositoryId(job), job.repository])) })
  const browser = await engine.launch()
  const results: Comparison[] = []
  try {
    // One page runs all cases of a repository, so that the cases after the first read the repository from the cache.
    for (const repo of new Set(jobs.map(repositoryId))) {
      const tab = await browser.newTab()
      await tab.goto(address)
      for (const job of jobs.filter((one) => repositoryId(one) === repo)) {
        const settings: ParitySettings = { endpoint: hub.url, repo, device, dtype, offload }
        results.push(...(await runJob(tab, settings, job)))
      }
      await tab.close()
    }
  } finally {
    await browser.close()
    await hub.close()
    await site.close()
  }

  const failed = results.filter((result) => !result.passed).length
  const worst = results.reduce((most, result) => (result.name === 'image' ? most : Math.max(most, result.relative)), 0)
  console.log(
    `parity in ${browser.version}: ${jobs.length} cases, ${results.length} tensors, worst ${worst.toExponential(2)}${failed > 0 ? `, ${failed} FAILED` : ''}`,
  )
  writeReport(device, results.length - failed, failed)
  return failed > 0 ? 1 : 0
}

/** Chooses the browser. @throws Error if the given browser cannot run on the device */
function chooseBrowser(given: string | undefined, device: 'wasm' | 'webgpu'): EngineName {
  if (given === undefined) return device === 'webgpu' && engines.firefox.missing() === undefined ? 'firefox' : 'chromium'
  const name = oneOf('--browser', given, ['chromium', 'firefox', 'webkit'] as const)
  if (name === 'webkit' && device === 'webgpu')
    throw new Error('--browser webkit: WebKitGTK has no WebGPU, so it needs --device wasm')
  return name
}

async function runJob(tab: Tab, settings: ParitySettings, job: Job): Promise<Comparison[]> {
  const started = performance.now()
  const reference = parseReference(readFileSync(job.reference))
  let ours: Record<string, TransferredTensor> = {}
  let failure = ''
  try {
    await tab.waitForFunction(() => window.runParityCase !== undefined, null)
    ours = await tab.evaluate(
      ([given, item]) => {
        if (window.runParityCase === undefined) throw new Error('The page has no runParityCase')
        return window.runParityCase(given, item)
      },
      [settings, withVariant(job)] as const,
    )
  } catch (error) {
    failure = error instanceof Error ? error.message : String(error)
  }
  const inputs = new Set(Object.keys(job.item.extra))
  const results = Object.entries(reference)
    .filter(([name]) => !inputs.has(name))
    .flatMap(([name, tensor]) => {
      const limit = settings.dtype === 'float32' || job.own === undefined ? limitOf(name) : float16LimitOf(name, job.own)
      return limit === undefined ? [] : compareTensor(name, tensor, decode(ours[name]), limit)
    })
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(
    `${job.name}  (${job.item.scheduler ?? 'own scheduler'}, ${job.item.num_inference_steps} steps, ${settings.device}, ${seconds} s)`,
  )
  if (failure !== '') console.log(`  error: ${failure}`)
  for (const result of results) console.log(describe(result))
  return results
}

/** Returns the case. Adds the variant `fp16` if the case has float16 weights and names no variant, and the repository has fp16 files. */
function withVariant({ item, repository }: Job): FixtureCase {
  const hasVariant = readdirSync(repository, { recursive: true }).some((path) => String(path).includes('.fp16'))
  if (item.dtype !== 'float16' || item.extra['variant'] !== undefined || !hasVariant) return item
  return { ...item, extra: { ...item.extra, variant: 'fp16' } }
}

/** Finds every case below `root`; with `quick`, only the first case of each fixture. */
function findJobs(root: string, quick: boolean, fixtures = root): Job[] {
  const jobs: Job[] = []
  for (const entry of readdirSync(root, { withFileTypes: true }).toSorted((a, b) => a.name.localeCompare(b.name))) {
    if (!entry.isDirectory()) continue
    const folder = join(root, entry.name)
    const file = join(folder, 'case.json')
    if (!exists(file)) {
      jobs.push(...findJobs(folder, quick, fixtures))
      continue
    }
    const content = JSON.parse(readFileSync(file, 'utf8')) as FixtureCase | FixtureCase[]
    const items = Array.isArray(content) ? content : [content]
    const name = relative(fixtures, folder)
    const own = ownErrors[name]
    for (const [k, item] of items.entries()) {
      if (quick && k > 0) break
      const reference = join(folder, Array.isArray(content) ? `reference-${k}.safetensors` : 'reference.safetensors')
      jobs.push({
        name: `${name}#${k}`,
        folder,
        repository: resolve(folder, item.repo ?? 'repo'),
        item,
        reference,
        own: own?.case === k ? own : undefined,
      })
    }
  }
  return jobs
}

function repositoryId(job: Job): string {
  return `fixtures/${job.name.replace(/#.*$/, '').replaceAll(/[^\w.-]/g, '-')}`
}

function decode(tensor: TransferredTensor | undefined): Tensor | undefined {
  if (tensor === undefined) return undefined
  const bytes = Buffer.from(tensor.base64, 'base64')
  return { dims: tensor.dims, data: new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)) }
}

function writeReport(device: string, passed: number, failed: number): void {
  const folder = process.env['AQUATINT_REPORTS']
  if (folder === undefined) return
  mkdirSync(folder, { recursive: true })
  writeFileSync(
    join(folder, `parity-${device}.json`),
    JSON.stringify({ numPassedTests: passed, numFailedTests: failed, numPendingTests: 0 }),
  )
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined
}

function oneOf<T extends string>(flag: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((word) => word === value)
  if (found === undefined) throw new Error(`${flag} must be one of ${allowed.join(', ')}, not '${value}'`)
  return found
}

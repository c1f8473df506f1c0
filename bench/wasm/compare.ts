/** Compares processes that each hold one network and run it in turn, for `npm run bench:wasm -- --network NAME`. */

import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Taken } from './sessions.js'
import { bundledConfig } from './unets.js'

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url))

/** The networks to compare. */
export interface Comparison {
  readonly network: string
  /** Path of an ONNX file of the same network. */
  readonly exported?: string | undefined
  /** A Python with torch and diffusers. */
  readonly python?: string | undefined
  /** Rounds that are measured, after warm-up rounds in which the compilers finish. */
  readonly rounds: number
}

/**
 * Makes V8 optimize onnxruntime's WebAssembly before the first run. Otherwise V8 optimizes function by function in other threads during the
 * runs: on a busy machine, one process would already run optimized code while another did not.
 */
const optimized = '--no-liftoff'
const warmUp = 3

class Contestant {
  readonly #process: ChildProcessWithoutNullStreams
  readonly #lines: AsyncIterator<string>

  constructor(command: string, args: readonly string[]) {
    this.#process = spawn(command, args)
    this.#process.stderr.resume()
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]()
  }

  /** The next line of JSON. */
  async read(): Promise<Taken> {
    for (;;) {
      const { value, done } = await this.#lines.next()
      if (done === true) throw new Error(`${this.#process.spawnargs.join(' ')} has ended`)
      if (value.startsWith('{')) return JSON.parse(value) as Taken
    }
  }

  run(): Promise<Taken> {
    this.#process.stdin.write('\n')
    return this.read()
  }

  end(): void {
    this.#process.stdin.end()
    this.#process.kill()
  }
}

const ours = 'Aquatint, a step'

function contestants({ network, exported, python }: Comparison): Map<string, Contestant> {
  const own = (form: string) =>
    new Contestant(process.execPath, [optimized, path('../../scripts/run.mjs'), path('worker.ts'), form, network])
  const all = new Map([[ours, own('step')]])
  all.set('Aquatint, once a generation', own('once'))
  if (exported !== undefined) all.set('the export, a step', own(exported))
  if (python !== undefined) {
    const config = network === 'bundled-unet' ? bundledConfig : network
    all.set('PyTorch, a step', new Contestant(python, [path('../kernels/pytorch.py'), config]))
  }
  return all
}

/** Prints the median milliseconds of each contestant, and the median and the quartiles of its ratio to Aquatint's step in the same round. */
export async function compare(comparison: Comparison): Promise<void> {
  const all = contestants(comparison)
  try {
    for (const contestant of all.values()) await contestant.read()
    const taken = new Map([...all.keys()].map((name) => [name, [] as number[]]))
    for (let round = -warmUp; round < comparison.rounds; round++) {
      // Every other round is in the reverse order, so that no contestant always runs after the same one.
      const order = round % 2 === 0 ? [...all] : [...all].toReversed()
      for (const [name, contestant] of order) {
        const { cpu } = await contestant.run()
        if (round >= 0) taken.get(name)?.push(cpu)
      }
    }
    console.log(`${comparison.network}, batch 2, latents 16 × 16, ${comparison.rounds} rounds, ms of CPU time:\n`)
    console.log('| | median | least | ratio to Aquatint’s step: median (quartiles) |\n| --- | ---: | ---: | ---: |')
    const step = taken.get(ours) ?? []
    for (const [name, times] of taken) {
      const ratios = times.map((time, round) => time / (step[round] ?? Number.NaN))
      const [low, middle, high] = [0.25, 0.5, 0.75].map((part) => quantile(ratios, part).toFixed(2))
      const row = [name, quantile(times, 0.5).toFixed(1), Math.min(...times).toFixed(1), `${middle} (${low} to ${high})`]
      console.log(`| ${row.join(' | ')} |`)
    }
  } finally {
    for (const contestant of all.values()) contestant.end()
  }
}

function quantile(values: readonly number[], part: number): number {
  return values.toSorted((a, b) => a - b)[Math.round(part * (values.length - 1))] ?? Number.NaN
}

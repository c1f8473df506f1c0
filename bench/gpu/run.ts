/**
 * The script of the packed benchmark (bench/gpu.ts packs it): times networks of published sizes on this machine's GPU, in Node on Dawn. Times
 * the same networks in PyTorch, if PyTorch is installed. Prints a line after each measurement, and a table at the end. With `--accuracy` it
 * compares float16 with PyTorch instead: `--only` selects networks by a part of their names, and `--latents` and `--tokens` set their sizes.
 */

import { parseArgs } from 'node:util'
import { DiskRepository } from '../../cli/disk-repository.js'
import type { DeviceKind } from '../../src/memory/device-info.js'
import { DeviceError } from '../../src/errors.js'
import { openDevice } from '../../src/runtime/open-device.js'
import { formatBytes } from '../../src/util/format-bytes.js'
import { accuracyOptions, compareWithPyTorch } from './accuracy.js'
import { installWebGpu } from './dawn.js'
import { measureMatrixProduct, measureNetwork, type Measurement } from './measure.js'
import { networkError } from './network-error.js'
import { openNetwork, readGroups } from './networks.js'
import { labelOf, product, tableOf, type Form, type Row } from './report.js'
import { timePyTorch } from './time-pytorch.js'

/** The forms in the order in which they are measured: if the time runs out, the last ones are missing. */
const forms: readonly Form[] = [{ kernels: 'aquatint' }, { kernels: 'aquatint', quantization: 'q8' }, { kernels: 'onnxruntime' }]

const { values } = parseArgs({
  options: {
    ...accuracyOptions,
    accuracy: { type: 'boolean', default: false },
    device: { type: 'string', default: 'webgpu' },
    runs: { type: 'string', default: '5' },
  },
})
const kind: DeviceKind = values.device === 'wasm' ? 'wasm' : 'webgpu'
const ends = performance.now() + Number(values.minutes) * 60_000
const secondsLeft = () => (ends - performance.now()) / 1000
const rows: Row[] = []

/** Seconds that the latest measurement of each network took, including the load. The next measurement probably takes as long. */
const took = new Map<string, number>()

if (kind === 'webgpu') await installWebGpu()
console.log(await describeDevice())
const groups = await readGroups()
const group = values.tiny ? 'tiny' : 'full'
const isComplete = values.accuracy ? await compare() : await timeNetworks()
// Dawn has threads that would keep the process alive.
process.exit(isComplete ? 0 : 1)

async function timeNetworks(): Promise<boolean> {
  await measureForm(forms[0] ?? { kernels: 'aquatint' })
  // PyTorch comes before the other forms, because the comparison with it matters most.
  const torch = await timePyTorch(values.python, group, Math.round(Math.min(90, Math.max(1, secondsLeft() / 2))))
  // On the CPU the option `kernels` has no effect, so only the forms with Aquatint's kernels run.
  const others = kind === 'wasm' ? forms.filter(({ kernels }) => kernels === 'aquatint') : forms
  for (const form of others.slice(1)) await measureForm(form)
  for (const line of [...torch.notes, '', ...tableOf(rows, torch.seconds)]) console.log(line)
  return rows.every(({ result }) => typeof result !== 'string')
}

/** Runs the networks that judge.py writes in this process, and compares their outputs with PyTorch's. */
async function compare(): Promise<boolean> {
  return compareWithPyTorch(values, async (folder, form) => {
    const repository = new DiskRepository(folder)
    try {
      return await networkError(repository, { kind, ...form })
    } finally {
      await repository.close()
    }
  })
}

async function describeDevice(): Promise<string> {
  const device = await openDevice({ kind }).catch((error: unknown) => {
    if (!(error instanceof DeviceError) || error.code !== 'webgpu-not-available') throw error
    // Dawn has printed why it uses none of the drivers that it found.
    console.error(`There is no GPU that Dawn can use.
It needs a Vulkan driver and its loader, libvulkan.so.1 (Debian and Ubuntu: apt install libvulkan1). In a container with an NVIDIA GPU,
NVIDIA_DRIVER_CAPABILITIES has to be "all" or to contain "graphics".`)
    process.exit(1)
  })
  const { description, shaderF16, maxBufferSize } = device.info
  await device.dispose()
  const types = shaderF16 ? 'float16' : 'no float16'
  return `${description}, ${types}, buffers up to ${formatBytes(maxBufferSize)}, Node ${process.version}`
}

/** Measures the matrix product and all networks in one form. Quantized decoders are left out: their weights are mostly convolutions, which stay float16. */
async function measureForm(form: Form): Promise<void> {
  const { kernels, quantization } = form
  if (quantization === undefined) {
    const size = values.tiny ? 256 : 4096
    await add(product, 2 * size ** 3, form, () => measureMatrixProduct(size, { kind, kernels, runs: 20, secondsLeft }))
  }
  for (const entry of groups[group]) {
    const { name, flops, latents } = entry
    const network = await openNetwork(entry, quantization)
    if (quantization !== undefined && network.model.role === 'autoencoder') continue
    await add(name, flops, form, () =>
      measureNetwork(network, { kind, kernels, latents, runs: Number(values.runs), secondsLeft }),
    )
  }
}

/**
 * Measures and adds a row. Does not measure if too little time is left. The row then gives this reason, or the error if the measurement fails;
 * other rows are still measured.
 */
async function add(name: string, flops: number, form: Form, measure: () => Promise<Measurement>): Promise<void> {
  let result: Measurement | string = `not measured, because the limit of ${values.minutes} min was reached`
  const expected = took.get(name) ?? 0
  if (secondsLeft() > 0 && secondsLeft() < expected)
    result = `not measured, because it takes ${Math.ceil(expected)} s, and ${Math.floor(secondsLeft())} s of ${values.minutes} min were left`
  else if (secondsLeft() > 0) {
    const started = performance.now()
    try {
      result = await measure()
      took.set(name, (performance.now() - started) / 1000)
    } catch (error) {
      result = error instanceof Error ? error.message : String(error)
    }
  }
  rows.push({ name, flops, form, result })
  const text =
    typeof result === 'string' ? result : `${result.seconds.toPrecision(3)} s, the first ${result.firstSeconds.toFixed(1)} s`
  console.log(`${name}, ${labelOf(form)}: ${text}`)
}

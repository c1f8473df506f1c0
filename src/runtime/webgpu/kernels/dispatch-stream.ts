/**
 * Replaces sequences of onnxruntime's dispatches by one dispatch each. onnxruntime records its passes on a GPUDevice whose methods this
 * file replaces. The new methods hold back a dispatch that may begin a sequence until the next dispatches show whether it does. Nothing is
 * held back beyond the end of a pass, because onnxruntime writes the uniforms of later passes into the same buffers.
 */

import { ChannelsLastWeights } from './channels-last-weights.js'
import type { CompiledKernel, Dispatch, Launch, Match, Sequence } from './dispatch.js'
import { NormStatistics } from './norm-statistics.js'
import { OmittedResults } from './omitted-results.js'

/** The state that onnxruntime has set on a pass. */
interface PassState {
  pipeline: GPUComputePipeline | undefined
  group: GPUBindGroup | undefined
  held: Dispatch[]
}

const uniformUsage = 0x40

function isBufferBinding(resource: GPUBindingResource): resource is GPUBufferBinding {
  return 'buffer' in resource
}

/**
 * The prototype, with the methods of all devices. Each call looks its method up there, and the queue's methods in the queue's prototype, so
 * that tests that watch the prototypes see the pipelines and uploads of this device.
 */
function prototypeOf(gpu: GPUDevice): GPUDevice {
  return Object.getPrototypeOf(gpu) as GPUDevice
}

function isUniform({ buffer }: GPUBufferBinding): boolean {
  return (buffer.usage & uniformUsage) !== 0
}

/** Watches what is recorded on one device. */
class DispatchStream {
  readonly weights = new ChannelsLastWeights()
  readonly results = new OmittedResults()
  readonly statistics: NormStatistics
  readonly #gpu: GPUDevice
  #sequences: readonly Sequence[] = []
  #replaced: (label: string) => void = () => undefined
  readonly #modules = new WeakMap<GPUShaderModule, CompiledKernel>()
  readonly #kernels = new WeakMap<GPUComputePipeline, CompiledKernel>()
  readonly #groups = new WeakMap<GPUBindGroup, readonly GPUBufferBinding[]>()
  readonly #uniforms = new WeakMap<GPUBuffer, Uint32Array>()
  /** The compute pipelines of this library's kernels, by their WGSL source. */
  readonly #own = new Map<string, GPUComputePipeline>()
  readonly #compile: GPUDevice['createShaderModule']
  readonly #pipeline: GPUDevice['createComputePipeline']
  readonly #group: GPUDevice['createBindGroup']

  constructor(gpu: GPUDevice) {
    this.#gpu = gpu
    this.statistics = new NormStatistics(gpu)
    this.#compile = (descriptor) => prototypeOf(gpu).createShaderModule.call(gpu, descriptor)
    this.#pipeline = (descriptor) => prototypeOf(gpu).createComputePipeline.call(gpu, descriptor)
    this.#group = (descriptor) => prototypeOf(gpu).createBindGroup.call(gpu, descriptor)
    this.#watchPipelines()
    this.#watchBindings()
    gpu.createCommandEncoder = (descriptor) => {
      const encoder = prototypeOf(gpu).createCommandEncoder.call(gpu, descriptor)
      const beginPass = encoder.beginComputePass.bind(encoder)
      encoder.beginComputePass = (given) => this.#watchPass(beginPass(given))
      this.#watchCopies(encoder)
      return encoder
    }
  }

  /** Replaces these sequences from now on, instead of those of the last call. Recognises kernels compiled before, too. */
  begin(sequences: readonly Sequence[], replaced: (label: string) => void): void {
    this.#sequences = sequences
    this.#replaced = replaced
    this.#gpu.createShaderModule = (descriptor) => {
      const shader = this.#compile(descriptor)
      const { code, label = '' } = descriptor
      const storage = [...code.matchAll(/@binding\(\d+\) var<storage, (\w+)> (\w+):/g)]
      const bindings = storage.map(([, , name]) => name).join()
      this.#modules.set(shader, { label, code, bindings, writes: storage.map(([, access]) => access !== 'read') })
      return shader
    }
  }

  #watchPipelines(): void {
    const gpu = this.#gpu
    const remember = (pipeline: GPUComputePipeline, { compute }: GPUComputePipelineDescriptor) => {
      const kernel = this.#modules.get(compute.module)
      if (kernel !== undefined) this.#kernels.set(pipeline, kernel)
      return pipeline
    }
    gpu.createComputePipeline = (descriptor) => remember(this.#pipeline(descriptor), descriptor)
    gpu.createComputePipelineAsync = async (descriptor) =>
      remember(await prototypeOf(gpu).createComputePipelineAsync.call(gpu, descriptor), descriptor)
  }

  #watchBindings(): void {
    const { queue } = this.#gpu
    this.#gpu.createBindGroup = (descriptor) => {
      const group = this.#group(descriptor)
      const entries = [...descriptor.entries].toSorted((a, b) => a.binding - b.binding)
      const resources = entries.flatMap(({ resource }) =>
        resource instanceof GPUBuffer ? [{ buffer: resource }] : isBufferBinding(resource) ? [resource] : [],
      )
      if (resources.length === entries.length) this.#groups.set(group, resources)
      return group
    }
    const prototype = Object.getPrototypeOf(queue) as GPUQueue
    queue.writeBuffer = (buffer, offset, data, begin, size) => {
      prototype.writeBuffer.call(queue, buffer, offset, data, begin, size)
      this.#wrote(buffer)
      if (isUniform({ buffer })) this.#uniforms.set(buffer, words(data, offset, begin, size))
    }
  }

  #watchCopies(encoder: GPUCommandEncoder): void {
    const copy = encoder.copyBufferToBuffer.bind(encoder)
    const clear = encoder.clearBuffer.bind(encoder)
    encoder.copyBufferToBuffer = (source: GPUBuffer, ...rest: readonly unknown[]) => {
      this.#read(source, 'A copy')
      for (const target of rest) if (target instanceof GPUBuffer) this.#wrote(target)
      Reflect.apply(copy, encoder, [source, ...rest])
    }
    encoder.clearBuffer = (buffer, offset, size) => {
      this.#wrote(buffer)
      clear(buffer, offset, size)
    }
  }

  #wrote(buffer: GPUBuffer): void {
    this.weights.wrote(buffer)
    this.results.wrote(buffer)
  }

  #read(buffer: GPUBuffer, reader: string): void {
    this.weights.read(buffer, reader)
    this.results.read(buffer, reader)
  }

  #watchPass(pass: GPUComputePassEncoder): GPUComputePassEncoder {
    const state: PassState = { pipeline: undefined, group: undefined, held: [] }
    const raw = {
      setPipeline: pass.setPipeline.bind(pass),
      setBindGroup: pass.setBindGroup.bind(pass),
      dispatch: pass.dispatchWorkgroups.bind(pass),
      indirect: pass.dispatchWorkgroupsIndirect.bind(pass),
      end: pass.end.bind(pass),
    }
    const dispatch = (pipeline: GPUComputePipeline, group: GPUBindGroup, grid: readonly [number, number, number]) => {
      raw.setPipeline(pipeline)
      raw.setBindGroup(0, group)
      raw.dispatch(...grid)
    }
    const record = (given: Dispatch) => {
      dispatch(given.pipeline, given.group, given.grid)
      this.results.record([given], given.omitted)
    }
    const launch = (replacement: Launch, replaced: readonly Dispatch[]) => {
      const pipeline = this.#ownPipeline(replacement)
      const entries = replacement.bindings.map((resource, binding) => ({ binding, resource }))
      dispatch(pipeline, this.#group({ layout: pipeline.getBindGroupLayout(0), entries }), replacement.grid)
      this.results.record(replaced, replacement.omitted)
    }
    const reduce = (isLast: boolean) => this.#reduce(state.held, isLast, record, launch)
    pass.setPipeline = (pipeline) => {
      state.pipeline = pipeline
    }
    pass.setBindGroup = (index: number, group: GPUBindGroup | null | undefined, ...rest: readonly unknown[]) => {
      if (index === 0 && rest.length === 0) {
        state.group = group ?? undefined
        return
      }
      reduce(true)
      Reflect.apply(raw.setBindGroup, pass, [index, group, ...rest])
    }
    pass.dispatchWorkgroups = (x, y = 1, z = 1) => {
      const { pipeline, group } = state
      const kernel = pipeline === undefined ? undefined : this.#kernels.get(pipeline)
      const bound = group === undefined ? undefined : this.#groups.get(group)
      if (pipeline === undefined || group === undefined || kernel === undefined || bound === undefined) {
        reduce(true)
        this.#assertReadable(bound)
        if (pipeline !== undefined) raw.setPipeline(pipeline)
        if (group !== undefined) raw.setBindGroup(0, group)
        raw.dispatch(x, y, z)
        return
      }
      const binding = bound.find(isUniform)
      const known = binding === undefined ? undefined : this.#uniforms.get(binding.buffer)
      const uniforms = binding === undefined || known === undefined ? undefined : { binding, words: known }
      const storage = bound.filter((one) => !isUniform(one))
      const given: Dispatch = { kernel, pipeline, group, storage, uniforms, grid: [x, y, z] }
      const read = this.weights.resolve(given)
      if (read === undefined) return
      const resolved = this.statistics.resolve(read)
      state.held.push(resolved === given ? given : this.#regrouped(resolved, bound))
      reduce(false)
    }
    pass.dispatchWorkgroupsIndirect = (buffer, offset) => {
      reduce(true)
      this.#assertReadable(state.group === undefined ? undefined : this.#groups.get(state.group))
      if (state.pipeline !== undefined) raw.setPipeline(state.pipeline)
      if (state.group !== undefined) raw.setBindGroup(0, state.group)
      raw.indirect(buffer, offset)
    }
    pass.end = () => {
      reduce(true)
      raw.end()
    }
    return pass
  }

  /** Reports to {@link weights} and {@link results} that a dispatch that cannot be changed reads these bindings. */
  #assertReadable(bound: readonly GPUBufferBinding[] = []): void {
    for (const { buffer } of bound) this.#read(buffer, 'A kernel')
  }

  /** The dispatch with a new bind group: its own storage buffers, and the uniforms of `bound`. */
  #regrouped(dispatch: Dispatch, bound: readonly GPUBufferBinding[]): Dispatch {
    const storage = [...dispatch.storage]
    const resources = bound.map((one) => (isUniform(one) ? one : (storage.shift() ?? one)))
    const entries = resources.map((resource, binding) => ({ binding, resource }))
    const group = this.#group({ layout: dispatch.pipeline.getBindGroupLayout(0), entries })
    return { ...dispatch, group }
  }

  /** Records the held-back dispatches, or their replacements, as far as the sequences have decided about them: all of them if `isLast`. */
  #reduce(
    held: Dispatch[],
    isLast: boolean,
    record: (dispatch: Dispatch) => void,
    launch: (replacement: Launch, replaced: readonly Dispatch[]) => void,
  ): void {
    while (held.length > 0) {
      const all = this.#match(held)
      if (!isLast && all.some(({ open }) => open)) return
      let count = held.length
      let replacement = all.find((match) => match.launch !== undefined)?.launch
      while (replacement === undefined && count > 1)
        replacement = this.#match(held.slice(0, --count)).find((match) => match.launch !== undefined)?.launch
      if (replacement === undefined) {
        const first = held.shift()
        if (first !== undefined) record(first)
      } else {
        this.#replaced(replacement.label)
        launch(replacement, held.splice(0, count))
      }
    }
  }

  /** The sequences' decisions about these dispatches. A replacement whose grid is larger than the device allows is left out; onnxruntime divides such grids. */
  #match(held: readonly Dispatch[]): readonly Match[] {
    const { limits } = this.#gpu
    const fits = ({ grid }: Launch) => grid.every((count) => count <= limits.maxComputeWorkgroupsPerDimension)
    return this.#sequences.flatMap((sequence) => {
      const match = sequence(held, limits)
      if (match === undefined) return []
      return match.launch === undefined || fits(match.launch) ? match : { open: match.open }
    })
  }

  #ownPipeline({ label, code }: Launch): GPUComputePipeline {
    const known = this.#own.get(code)
    if (known !== undefined) return known
    const shader = this.#compile({ label, code })
    const made = this.#pipeline({ label, layout: 'auto', compute: { module: shader, entryPoint: 'main' } })
    this.#own.set(code, made)
    return made
  }
}

/** The 32-bit values that a write puts at the beginning of a uniform buffer. Empty if the write begins at another offset or ends inside a value. */
function words(data: AllowSharedBufferSource, offset: number, begin = 0, size?: number): Uint32Array {
  const view = ArrayBuffer.isView(data) ? data : new Uint8Array(data)
  const unit = 'BYTES_PER_ELEMENT' in view && typeof view.BYTES_PER_ELEMENT === 'number' ? view.BYTES_PER_ELEMENT : 1
  const bytes = size === undefined ? view.byteLength - begin * unit : size * unit
  if (offset !== 0 || bytes % 4 !== 0) return new Uint32Array()
  const copy = new Uint8Array(bytes)
  copy.set(new Uint8Array(view.buffer, view.byteOffset + begin * unit, bytes))
  return new Uint32Array(copy.buffer)
}

/** The stream of each device. A device that is opened again keeps its stream: two streams would each know only a part of the kernels. */
const streams = new WeakMap<GPUDevice, DispatchStream>()

/**
 * Called when a run of onnxruntime on this device has ended. Returns an error if a command of the run read values that were not written, or
 * weights in an order that it does not expect.
 */
export function endRun(gpu: GPUDevice): Error | undefined {
  const { weights, results, statistics } = streams.get(gpu) ?? {}
  statistics?.endRun()
  const errors = [weights?.endRun(), results?.endRun()]
  return errors[0] ?? errors[1]
}

/** The record of which weights on a device have channels last. Undefined if {@link replaceSequences} never got a sequence for it. */
export function channelsLastWeights(gpu: GPUDevice): ChannelsLastWeights | undefined {
  return streams.get(gpu)?.weights
}

/**
 * From now on, `gpu` runs one kernel in place of each of these sequences. Without any, it runs what onnxruntime records. Calls `replaced` with the label of
 * each kernel that it runs in place of a sequence.
 */
export function replaceSequences(gpu: GPUDevice, sequences: readonly Sequence[], replaced: (label: string) => void): void {
  const known = streams.get(gpu)
  if (known === undefined && sequences.length === 0) return
  const stream = known ?? new DispatchStream(gpu)
  streams.set(gpu, stream)
  stream.begin(sequences, replaced)
}

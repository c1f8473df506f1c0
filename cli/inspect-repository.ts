import { listVariants } from '../src/checkpoint/weight-files.js'
import { listWeightFiles, measureWeights, readWeightTable } from '../src/checkpoint/weight-table.js'
import type { SafetensorsDType, WeightTable } from '../src/checkpoint/types.js'
import type { ReadOptions, Repository } from '../src/hub/types.js'
import type { Network } from '../src/pipelines/bind-network.js'
import { faultOf, readContents, type ComponentFiles } from './components.js'
import { planMemoryOf, type MemoryRequest, type PlannedMemory } from './memory.js'
import { checkComponent, checkWhole, Findings, networkOf, noteIgnored, specOf, type Finding } from './runnable.js'
import { isFloatDType } from '../src/checkpoint/element-types.js'

/** Tensors of one element type. */
interface DTypePart {
  readonly tensors: number
  readonly elements: number
  readonly bytes: number
}

interface InspectedWeights {
  readonly variant: string | null
  readonly files: readonly { readonly path: string; readonly bytes: number }[]
  readonly tensors: number
  /** Parameters of the model: of a quantised weight those that it stands for. */
  readonly parameters: number
  readonly bytes: number
  readonly dtypes: Readonly<Partial<Record<SafetensorsDType, DTypePart>>>
  /** How `aquatint shard` quantised it, or null. */
  readonly quantized: { readonly bits: number; readonly blockSize: number } | null
}

interface InspectedComponent {
  readonly name: string
  readonly className: string
  readonly library: string
  /** Null for what has no weights, or none that can be read (then `runs` says why). */
  readonly weights: InspectedWeights | null
}

export interface Inspection {
  readonly repository: string
  readonly revision: string
  readonly pipeline: string | null
  readonly components: readonly InspectedComponent[]
  readonly variants: readonly string[]
  readonly parameters: number
  readonly bytes: number
  /** The memory plan, where one was asked for and the checkpoint runs. */
  readonly memory: PlannedMemory | null
  readonly runs: { readonly ok: boolean; readonly problems: readonly Finding[]; readonly warnings: readonly Finding[] }
}

/** @throws CheckpointError, HubError; what is wrong with one component is told in `runs` instead */
export async function inspectRepository(
  repository: Repository,
  variant: string | null,
  request: MemoryRequest | null,
  signal: AbortSignal,
): Promise<Inspection> {
  const { pipeline, components } = await readContents(repository, variant, { signal })
  const paths = (await repository.files({ signal })).map((file) => file.path)
  const variants = new Set(components.flatMap(({ name, weightLibrary }) => listVariants(paths, name, weightLibrary)))
  const findings = new Findings()
  const spec = specOf(pipeline, findings)
  const networks: Network[] = []
  const inspected: InspectedComponent[] = []
  for (const component of components) {
    const { name, className, library, faults } = component
    let weights: InspectedWeights | null = null
    const ignored = noteIgnored(spec, name, findings)
    for (const fault of faults) findings.fault(name, fault, ignored)
    try {
      const table = component.weights === null ? null : await readWeightTable(repository, component.weights, { signal })
      if (table !== null) weights = await measure(repository, component, table, { signal })
      if (faults.length === 0 && !ignored) await checkComponent(repository, spec, component, table, findings, { signal })
      const isPart = spec !== undefined && Object.hasOwn(spec.networks, name)
      const network = table === null || !isPart ? undefined : networkOf(component, table)
      if (network !== undefined) networks.push(network)
    } catch (error) {
      findings.fault(name, faultOf(error), ignored)
    }
    inspected.push({ name, className, library, weights })
  }
  if (spec !== undefined && findings.problems.length === 0) await checkWhole(repository, spec, variant, findings, signal)
  const ok = findings.problems.length === 0
  return {
    repository: repository.id,
    revision: repository.revision,
    pipeline,
    components: inspected,
    variants: [...variants].toSorted(),
    parameters: inspected.reduce((sum, { weights }) => sum + (weights?.parameters ?? 0), 0),
    bytes: inspected.reduce((sum, { weights }) => sum + (weights?.bytes ?? 0), 0),
    memory: ok && request !== null ? planMemoryOf(networks, request) : null,
    runs: { ok, problems: findings.problems, warnings: findings.warnings },
  }
}

async function measure(
  repository: Repository,
  component: ComponentFiles,
  table: WeightTable,
  options: ReadOptions,
): Promise<InspectedWeights | null> {
  if (component.weights === null) return null
  const { variant } = component.weights
  const shards = await listWeightFiles(repository, component.weights, options)
  const sizes = new Map((await repository.files(options)).map((file) => [file.path, file.size]))
  const dtypes: Partial<Record<SafetensorsDType, { tensors: number; elements: number; bytes: number }>> = {}
  const quantized = quantizationOf(component)
  let parameters = 0
  for (const { name, dtype, shape, begin, end } of table.values()) {
    const part = (dtypes[dtype] ??= { tensors: 0, elements: 0, bytes: 0 })
    const elements = shape.reduce((product, dim) => product * dim, 1)
    part.tensors += 1
    part.elements += elements
    part.bytes += end - begin
    const scaled = quantized !== null && table.has(`${name}_scale`)
    if (scaled) parameters += (elements * 8) / quantized.bits
    // Buffers of integers (position ids) are no parameters.
    else if (isFloatDType(dtype) && !/\.weight_(?:scale|zero_point)$/.test(name)) parameters += elements
  }
  return {
    variant,
    files: shards.map((file) => ({ path: file, bytes: sizes.get(file) ?? 0 })),
    tensors: table.size,
    parameters,
    bytes: measureWeights(table).bytes,
    dtypes,
    quantized,
  }
}

function quantizationOf({ config }: ComponentFiles): InspectedWeights['quantized'] {
  const note = config?.quantization_config
  if (typeof note !== 'object' || note === null) return null
  const { quant_method: method, bits, block_size: blockSize } = note as Readonly<Record<string, unknown>>
  return method === 'aquatint' && typeof bits === 'number' && typeof blockSize === 'number' ? { bits, blockSize } : null
}

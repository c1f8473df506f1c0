/** `aquatint inspect`: describes a repository component by component, and says whether Aquatint can run it. */

import { isFloatDType } from '../../src/checkpoint/element-types.js'
import type { SafetensorsDType } from '../../src/checkpoint/types.js'
import { measureWeights } from '../../src/checkpoint/weight-table.js'
import type { AquatintError } from '../../src/errors.js'
import type { ReadOptions, Repository } from '../../src/hub/types.js'
import type { NetworkRole } from '../../src/models/types.js'
import type { PipelineSpec } from '../../src/pipelines/pipeline-spec.js'
import { planMemoryOf, type MemoryRequest, type PlannedMemory } from './memory.js'
import { inspectEmbeddings, type InspectedEmbedding, type NamedEmbedding } from './embeddings.js'
import { inspectLoras, type InspectedLora, type NamedLora } from './loras.js'
import { faultOf, readContents, type ComponentContents } from '../read-contents.js'
import { Findings, noteComponent, tryLoading, type Finding } from '../runnable.js'
import { elementCount } from '../../src/util/element-count.js'

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
  /** Parameters of the model. A quantized weight counts as the parameters that it stands for. */
  readonly parameters: number
  readonly bytes: number
  readonly dtypes: Readonly<Partial<Record<SafetensorsDType, DTypePart>>>
  /** How `aquatint shard` quantized it, or null. */
  readonly quantized: { readonly bits: number; readonly blockSize: number } | null
}

interface InspectedComponent {
  readonly name: string
  readonly className: string
  readonly library: string
  /** The component's role in a pipeline; null for components that are no network, and for networks that cannot be loaded. */
  readonly role: NetworkRole | null
  /** Null if the component has no weights, or if they cannot be read (`runs` says why). */
  readonly weights: InspectedWeights | null
}

/** The document that `aquatint inspect --json` prints. */
export interface Inspection {
  readonly repository: string
  readonly revision: string
  readonly pipeline: string | null
  readonly components: readonly InspectedComponent[]
  readonly variants: readonly string[]
  readonly parameters: number
  readonly bytes: number
  /** The LoRAs that the user named, and whether they fit. */
  readonly loras: readonly InspectedLora[]
  /** The embeddings that the user named, and whether they fit. */
  readonly embeddings: readonly InspectedEmbedding[]
  /** The memory plan, if one was requested and the checkpoint runs. */
  readonly memory: PlannedMemory | null
  readonly runs: { readonly ok: boolean; readonly problems: readonly Finding[]; readonly warnings: readonly Finding[] }
}

/** The arguments of {@link inspectRepository} besides the repository. */
interface InspectOptions {
  readonly known?: readonly PipelineSpec[] | undefined
  readonly loras?: readonly NamedLora[] | undefined
  readonly embeddings?: readonly NamedEmbedding[] | undefined
}

/** Reads configs and headers of weights. Errors in single components are in `runs`. @throws CheckpointError, HubError */
export async function inspectRepository(
  repository: Repository,
  variant: string | null,
  request: MemoryRequest | null,
  signal: AbortSignal,
  { known, loras = [], embeddings = [] }: InspectOptions = {},
): Promise<Inspection> {
  const contents = await readContents(repository, variant, { signal })
  const verdict = await tryLoading(contents, variant, signal, known)
  const findings = new Findings()
  const addWhole = () => {
    for (const fault of verdict.faults.get('') ?? []) findings.problem('', fault)
  }
  // The error about an unsupported pipeline is listed first. Errors about a supported pipeline as a whole, such as missing components, are
  // listed after the errors of single components.
  if (verdict.spec === undefined && contents.layout !== null) addWhole()
  const variants = new Set<string>()
  const inspected: InspectedComponent[] = []
  for (const component of contents.components) {
    const { name, className, library, files, weightLibrary } = component
    for (const found of await files.variants(weightLibrary, { signal })) variants.add(found)
    const faults: AquatintError[] = []
    const weights = await measure(repository, component, { signal }).catch((error: unknown) => {
      faults.push(faultOf(error))
      return null
    })
    noteComponent(component, verdict, faults, findings)
    inspected.push({ name, className, library, role: verdict.networks.get(name)?.model.role ?? null, weights })
  }
  if (verdict.spec !== undefined) addWhole()
  // Adds the warnings about the checkpoint as a whole, and about components that `inspected` lacks.
  const rows = new Set(inspected.map(({ name }) => name).filter((name) => name !== ''))
  for (const note of verdict.notes) if (!rows.has(note.component)) findings.warning(note)
  const ok = findings.problems.length === 0
  return {
    repository: repository.id,
    revision: repository.revision,
    pipeline: contents.layout?.className ?? null,
    components: inspected,
    variants: [...variants].toSorted(),
    parameters: inspected.reduce((sum, { weights }) => sum + (weights?.parameters ?? 0), 0),
    bytes: inspected.reduce((sum, { weights }) => sum + (weights?.bytes ?? 0), 0),
    loras: inspectLoras(loras, verdict.networks),
    embeddings: inspectEmbeddings(embeddings, verdict.networks),
    memory:
      ok && request !== null
        ? await planMemoryOf(verdict.sources, variant, request, {
            guidance: verdict.spec?.guidance ?? 'classifier-free',
            loras,
            signal,
          })
        : null,
    runs: { ok, problems: findings.problems, warnings: findings.warnings },
  }
}

async function measure(
  repository: Repository,
  component: ComponentContents,
  options: ReadOptions,
): Promise<InspectedWeights | null> {
  if (component.weights === null) return null
  const { variant } = component.weights
  const table = await component.weights.read(options)
  const shards = await component.weights.files(options)
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
    // Codes have the shape [rows, blocks, bytes]. A component may have codes of 4 and of 8 bits, but all its blocks have the same number of weights.
    if (scaled) parameters += elementCount(shape.slice(0, 2)) * quantized.blockSize
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

function quantizationOf({ config }: ComponentContents): InspectedWeights['quantized'] {
  const note = config?.quantization_config
  if (typeof note !== 'object' || note === null) return null
  const { quant_method: method, bits, block_size: blockSize } = note as Readonly<Record<string, unknown>>
  return method === 'aquatint' && typeof bits === 'number' && typeof blockSize === 'number' ? { bits, blockSize } : null
}

/** Opens a LoRA: finds the file, refuses it by its header if it is for other networks, then downloads it and reads its branches. */

import { readLoraFile, type LoraFile } from '../../../checkpoint/lora/lora-file.js'
import { triggerWords } from '../../../checkpoint/lora/lora-metadata.js'
import { readScalings, type LoraScalings } from '../../../checkpoint/lora/lora-scalings.js'
import { networkKind } from '../../../checkpoint/lora/unread-layers.js'
import { matchLora, type AdaptableLayers, type MatchedLora } from '../../../checkpoint/lora/match-lora.js'
import type { LoraComponent } from '../../../checkpoint/lora/lora-keys.js'
import { UnsupportedError } from '../../../errors.js'
import { headersOnly } from '../../../hub/downloads/header-only-file.js'
import type { ByteSource } from '../../../hub/types.js'
import type { LayerFactors } from '../../network-adapters.js'
import type { Run } from '../../run.js'
import type { LoadLoraOptions } from '../../adapter-types.js'
import { bytesOfLora, layerFactors } from './lora-factors.js'
import { openAdapterFile, type AdapterFileRequest, type AdapterSource } from './open-adapter-file.js'

/** A LoRA that is ready to run. */
export interface OpenedLora {
  /** The file's name, to be shown to the user. */
  readonly file: string
  readonly factors: ReadonlyMap<LoraComponent, ReadonlyMap<string, LayerFactors>>
  readonly triggerWords: readonly string[]
  /** Bytes of the factors as they are stored. */
  readonly bytes: number
  /** Allows the cache to evict the file again. */
  readonly close: () => void
}

/** The arguments of {@link openLora} besides the file. */
export interface OpenLoraRequest extends AdapterFileRequest<LoadLoraOptions> {
  /** The layers of the pipeline's networks. */
  readonly layers: ReadonlyMap<LoraComponent, AdaptableLayers>
  /** Whether the weight of a layer is quantized. */
  readonly isQuantized: (component: LoraComponent, layer: string) => boolean
}

/**
 * Opens a LoRA and matches its branches with the layers of the pipeline's networks.
 * @throws InputError `bad-url`; HubError; CheckpointError `lora-mismatch`, `not-a-lora`, `weights-not-found`, `safetensors-*`;
 *   UnsupportedError `lora-method`, `pickle-weights`; AbortError
 */
export async function openLora(source: AdapterSource, request: OpenLoraRequest): Promise<OpenedLora> {
  const { run, layers } = request
  const { signal } = run
  const { repository, path, close } = await openAdapterFile(source, request, 'pytorch_lora_weights.safetensors')
  try {
    const name = path.split('/').at(-1) ?? path
    const read = async (bytes: ByteSource) => {
      const lora = await readLoraFile(bytes, name, { signal })
      const matched = matchLora(lora, name, layers)
      refuseQuantizedDora(matched, name, request)
      return { lora, matched }
    }
    // Refuses a file for other networks before it is downloaded.
    await read(await headersOnly(repository).open(path, { signal }))
    const bytes = await repository.open(path, {
      signal,
      onProgress: (file) => run.report({ type: 'file', component: 'lora', file }),
    })
    const { lora, matched } = await read(bytes)
    const scalings = await readScalings(lora, bytes, networkKind(layers.get('denoiser')), { signal })
    warnOfIgnored(name, matched, lora, run)
    warnOfAlphas(name, scalings, run)
    const factors = new Map(
      [...matched.components].map(([component, modules]) => [component, layerFactors(modules, bytes, scalings.factors)]),
    )
    return { file: name, factors, triggerWords: triggerWords(lora.metadata), bytes: bytesOfLora(matched), close }
  } catch (error) {
    close()
    throw error
  }
}

/** Refuses a DoRA for quantized weights: it needs the norms of the rows of the original weight. @throws UnsupportedError `lora-method` */
function refuseQuantizedDora({ components }: MatchedLora, file: string, { isQuantized }: OpenLoraRequest): void {
  for (const [component, branches] of components)
    for (const [layer, { module }] of branches)
      if (module.form.kind === 'low-rank' && module.form.magnitude !== undefined && isQuantized(component, layer)) {
        const message = `${file} is a DoRA, which needs weights in float16 or float32, but the weight of ${layer} is quantized.`
        throw new UnsupportedError('lora-method', message, { file, layer })
      }
}

function warnOfIgnored(
  file: string,
  { ignored, unread }: MatchedLora,
  { ignored: others, ignoredDora }: LoraFile,
  run: Run,
): void {
  if (others.length > 0) {
    const shown = others.slice(0, 3).join(', ')
    run.warn('lora-ignored', `${file}: ${others.length} tensors that change biases or norms are ignored, such as ${shown}.`)
  }
  if (ignored.length > 0) {
    const shown = ignored.slice(0, 3).map(({ first }) => first.name)
    run.warn(
      'lora-ignored',
      `${file}: ${ignored.length} of its layers are not in this pipeline and are ignored, such as ${shown.join(', ')}.`,
    )
  }
  const [left] = unread
  if (left !== undefined)
    run.warn(
      'lora-ignored',
      `${file}: ${unread.length} of its layers have names that diffusers does not read, and are left out as in diffusers, first ${left.first.name}.`,
    )
  const [magnitude] = ignoredDora
  if (magnitude !== undefined)
    run.warn(
      'lora-dora',
      `${file} was trained as DoRA. ${ignoredDora.length} of its magnitudes are ignored, as in diffusers, first ${magnitude}, so images differ from those of its author.`,
    )
}

function warnOfAlphas(file: string, { overruled }: LoraScalings, run: Run): void {
  const [first] = overruled
  if (first?.alpha === undefined) return
  run.warn(
    'lora-alpha',
    `${file}: ${overruled.length} of its layers get another alpha of the file instead of their own, as in diffusers, first ${first.alpha.name}.`,
  )
}

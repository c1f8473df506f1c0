/**
 * Where each component of a pipeline comes from: the pipeline's own checkpoint, or another repository that the caller names for it
 * (`components`). Opens repositories and reads configs; no weights.
 */

import type { ComponentClass, ComponentFiles, Layout, LayoutComponent } from '../../checkpoint/layouts/layout.js'
import {
  checkSingleFileName,
  singleFileComponent,
  type FileInRepository,
} from '../../checkpoint/layouts/single-file/single-file.js'
import { readTensorFile } from '../../checkpoint/tensor-file.js'
import { headersOnly } from '../../hub/downloads/header-only-file.js'
import { isSingleFileAddress } from '../../hub/repositories/open-file.js'
import { openComponent } from '../../checkpoint/layouts/open-layout.js'
import { checkVariantName } from '../../checkpoint/weight-files.js'
import { InputError } from '../../errors.js'
import type { Repository } from '../../hub/types.js'
import type { NetworkDefinition } from '../../models/types.js'
import { namedComponents } from './preview-decoder.js'
import type { PipelineSpec } from '../pipeline-spec.js'
import type { ComponentReference, LoadPipelineOptions } from '../types.js'

/** A component of the pipeline to be loaded, whose files have not been read. */
export interface ComponentSource {
  /** The component's name in the pipeline, such as `text_encoder_2`. */
  readonly name: string
  /** The class that the component is loaded as. */
  readonly className: string
  /** The class that its config names, if that class contains `className` as a part: CLIPModel for a CLIPTextModel. */
  readonly takenFrom?: string | undefined
  /** The module that the class belongs to, as the checkpoint names it; null for a component from another repository. */
  readonly library: string | null
  readonly files: ComponentFiles
  readonly variant: string | undefined
  /** Whether the component comes from another repository that the caller named. */
  readonly swapped: boolean
  /** What happens where the component has no weights of `variant`. */
  readonly missingVariant: 'fallback' | 'strict'
}

/** Opens a repository by the name that a caller gives. */
export interface OpenByName {
  (repo: string, revision: string | undefined): Promise<Repository>
  /** Opens a file by its address. Absent where there is no hub. */
  readonly file?: ((address: string) => Promise<FileInRepository>) | undefined
}

/** What {@link findComponents} needs. */
export interface FindComponentsRequest {
  readonly layout: Layout
  readonly options: LoadPipelineOptions
  readonly open: OpenByName
  readonly spec: PipelineSpec
  readonly signal: AbortSignal | undefined
}

const subfolderPattern = /^(?!\.)[\w.-]+(\/(?!\.)[\w.-]+)*$/

/** Checks the options `components` and `variant`. @throws InputError `components`, `variant-name` */
export function checkComponentOptions(options: LoadPipelineOptions): void {
  if (options.variant !== undefined) checkVariantName(options.variant)
  for (const [name, reference] of Object.entries(options.components ?? {})) {
    if (reference === null || typeof reference === 'string') continue
    const { subfolder, variant } = reference
    if (typeof reference.repo !== 'string')
      throw new InputError('components', `components.${name} names no repository.`, { component: name })
    if (subfolder !== undefined && subfolder !== '' && !subfolderPattern.test(subfolder))
      throw new InputError(
        'components',
        `components.${name}.subfolder is ${JSON.stringify(subfolder.slice(0, 200))}; expected a plain folder name.`,
        {
          component: name,
          subfolder: subfolder.slice(0, 200),
        },
      )
    if (variant !== undefined) checkVariantName(variant)
  }
}

/**
 * Finds every component that the checkpoint has and the caller does not leave out.
 * @throws InputError `components` for a component that the pipeline does not have; HubError; CheckpointError
 */
export async function findComponents(request: FindComponentsRequest): Promise<ReadonlyMap<string, ComponentSource>> {
  const { layout, options, spec } = request
  const references = namedComponents(options, spec)
  for (const [name, reference] of Object.entries(references)) {
    // A component that the pipeline never uses may be left out even if the checkpoint does not have it.
    if (reference === null && Object.hasOwn(spec.ignored, name)) continue
    if (!layout.components.has(name))
      throw new InputError(
        'components',
        `components has ${JSON.stringify(name)}, which ${layout.className} of this repository does not; it has ${[...layout.components.keys()].join(', ')}.`,
        { component: name, allowed: [...layout.components.keys()] },
      )
  }
  const found = await Promise.all(
    [...layout.components].map(async ([name, own]): Promise<ComponentSource | null> => {
      const reference = Object.hasOwn(references, name) ? references[name] : undefined
      if (reference === null) return null
      if (reference !== undefined)
        return swapped(name, own, typeof reference === 'string' ? { repo: reference } : reference, request)
      if (own === null) return null
      const { library, className, files } = own
      return { name, className, library, files, variant: options.variant, swapped: false, missingVariant: 'fallback' }
    }),
  )
  return new Map(found.filter((source) => source !== null).map((source) => [source.name, source]))
}

/** A component in a repository or in a file that the caller names. */
async function swapped(
  name: string,
  own: LayoutComponent | null,
  reference: ComponentReference,
  request: FindComponentsRequest,
): Promise<ComponentSource> {
  const { file: openFile } = request.open
  if (openFile === undefined || !isSingleFileAddress(reference.repo)) return swappedComponent(name, own, reference, request)
  checkSingleFileName(reference.repo)
  if (own === null)
    throw new InputError('components', `components.${name} is a file, but the checkpoint has no config of that component.`, {
      component: name,
    })
  const { signal } = request
  const file = await openFile(reference.repo)
  const source = await headersOnly(file.repository).open(file.path, { signal })
  const { tensors } = await readTensorFile(source, file.path, { signal })
  const { library, className } = own
  const files = singleFileComponent(name, own.files, file, tensors)
  return { name, className, library, files, variant: undefined, swapped: true, missingVariant: 'fallback' }
}

async function swappedComponent(
  name: string,
  own: ComponentClass | null,
  reference: ComponentReference,
  { options, open, spec, signal }: FindComponentsRequest,
): Promise<ComponentSource> {
  const repository = await open(reference.repo, reference.revision)
  const config = Object.hasOwn(spec.tokenizers, name)
    ? 'tokenizer_config.json'
    : name === 'scheduler'
      ? 'scheduler_config.json'
      : 'config.json'
  const { files, className = 'unknown' } = await openComponent(
    repository,
    name,
    config,
    reference.subfolder ?? repository.folder,
    { signal },
  )
  // A tokenizer's files do not depend on the class that wrote them, and transformers reads them as the class that the pipeline has.
  const loadedAs = config === 'tokenizer_config.json' ? own?.className : containedClass(spec.networks[name] ?? [], className, own)
  return {
    name,
    className: loadedAs ?? (className === 'unknown' ? own?.className : undefined) ?? className,
    takenFrom: loadedAs === undefined || config === 'tokenizer_config.json' ? undefined : className,
    library: null,
    files,
    variant: reference.variant ?? options.variant,
    swapped: true,
    missingVariant: reference.variant === undefined ? 'fallback' : 'strict',
  }
}

/** The class among `definitions` that is a part of the class `className`; of several, the class of the pipeline's own component. Undefined if there is none, or `className` is itself among them. */
function containedClass(
  definitions: readonly NetworkDefinition[],
  className: string,
  own: ComponentClass | null,
): string | undefined {
  const names = definitions.map((definition) => definition.className)
  if (names.includes(className)) return undefined
  const containing = definitions.filter(({ within }) => within?.includes(className) === true).map((found) => found.className)
  return containing.find((name) => name === own?.className) ?? containing[0]
}

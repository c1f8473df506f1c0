/** Finds out whether Aquatint can run a checkpoint: loads all of it as a page would, without the tensors, and collects every error. */

import { AquatintError } from '../src/errors.js'
import { networkDefinition } from '../src/models/registry.js'
import type { Network } from '../src/pipelines/bind-network.js'
import { families } from '../src/pipelines/families.js'
import type { ComponentSource } from '../src/pipelines/loading/find-components.js'
import { findSpec } from '../src/pipelines/loading/find-pipeline.js'
import { readNetworkHeaders } from '../src/pipelines/loading/read-network-headers.js'
import {
  attempt,
  readNetworkSource,
  readPartsWithFaults,
  type NetworkSource,
  type OnFault,
} from '../src/pipelines/loading/read-parts.js'
import type { PipelineSpec } from '../src/pipelines/pipeline-spec.js'
import { Run } from '../src/pipelines/run.js'
import type { LoadNote } from '../src/pipelines/pipeline-info.js'
import { faultOf, type ComponentContents, type RepositoryContents } from './read-contents.js'

/** Something about a component that the user should know. */
export interface Finding {
  /** '' for the whole checkpoint. */
  readonly component: string
  readonly code: string
  readonly message: string
}

/** Everything that was found out about a checkpoint and its components, in the order in which it is shown. */
export class Findings {
  readonly problems: Finding[] = []
  readonly warnings: Finding[] = []

  /** Adds an error that stops Aquatint from running the checkpoint. An error that several readers report is added once. */
  problem(component: string, { code, message }: AquatintError): void {
    const isKnown = this.problems.some(
      (known) => known.component === component && known.code === code && known.message === message,
    )
    if (!isKnown) this.problems.push({ component, code, message })
  }

  /** Adds something that the user should know, though Aquatint runs the checkpoint. */
  warning({ component, code, message }: Finding): void {
    this.warnings.push({ component, code, message })
  }
}

/** The result of loading a checkpoint without its tensors. */
export interface Verdict {
  /** Undefined for a repository that is one component, and for a pipeline that is not supported. */
  readonly spec: PipelineSpec | undefined
  /** The networks that can be loaded. */
  readonly sources: readonly NetworkSource[]
  readonly networks: ReadonlyMap<string, Network>
  /** Errors by component. Those under '' concern the checkpoint as a whole. */
  readonly faults: ReadonlyMap<string, readonly AquatintError[]>
  /** Notes on what a load would ignore, assume or replace. */
  readonly notes: readonly LoadNote[]
}

/**
 * Loads a checkpoint of one of the classes `known` as `fromPretrained` does, but reads only the headers of its weights, and continues after
 * errors.
 * @throws HubError of the network, AbortError
 */
export async function tryLoading(
  contents: RepositoryContents,
  variant: string | null,
  signal: AbortSignal,
  known: readonly PipelineSpec[] = families,
): Promise<Verdict> {
  const { layout, components } = contents
  const faults = new Map<string, AquatintError[]>()
  const addFault = (component: string, error: unknown) =>
    faults.set(component, [...(faults.get(component) ?? []), faultOf(error)])
  const run = new Run({ signal })
  const spec = layout === null ? undefined : await attempt('', addFault, async () => findSpec(layout, known, run))
  // Errors in components other than networks and the scheduler are listed for the whole checkpoint: their messages name the component.
  const isShown = (name: string) => spec === undefined || name === 'scheduler' || Object.hasOwn(spec.networks, name)
  const listed = new Set(components.map(({ name }) => name).filter(isShown))
  const onFault: OnFault = (component, error) => addFault(listed.has(component) ? component : '', error)
  const options = { variant: variant ?? undefined }
  const sources =
    layout === null || spec === undefined
      ? await readNetworks(components, variant, onFault, run)
      : (await readPartsWithFaults({ layout, spec, options, open: openNothing, run }, onFault)).sources
  const networks = await attempt('', onFault, () => readNetworkHeaders({ sources, options, run, onFault }))
  return { spec, sources, networks: networks ?? new Map(), faults, notes: run.notes }
}

const openNothing = () =>
  Promise.reject(new AquatintError('other-repository', 'inspect opens only the repository that it was given.'))

/** The networks among components that belong to no supported pipeline. Only components with weights can be networks. */
async function readNetworks(
  components: readonly ComponentContents[],
  variant: string | null,
  onFault: OnFault,
  run: Run,
): Promise<readonly NetworkSource[]> {
  const read = components
    .filter(({ weights, faults }) => weights !== null && faults.length === 0)
    .map(({ name, className, files }) => {
      const source: ComponentSource = {
        name,
        className,
        library: null,
        files,
        variant: variant ?? undefined,
        swapped: false,
        missingVariant: 'fallback',
      }
      return attempt(name, onFault, () => readNetworkSource(source, networkDefinition(className), run))
    })
  return (await Promise.all(read)).filter((source) => source !== undefined)
}

/** Adds the findings on one component. `more`: further errors, from reading its weights. */
export function noteComponent(
  { name, faults: own }: ComponentContents,
  { spec, faults, notes }: Verdict,
  more: readonly AquatintError[],
  findings: Findings,
): void {
  for (const note of notes) if (note.component === name && name !== '') findings.warning(note)
  const all = [...own, ...more, ...(faults.get(name) ?? [])]
  const isUnused = notes.some(({ component, code }) => component === name && unusedCodes.has(code))
  for (const fault of all) {
    if (spec !== undefined && isUnused) findings.warning({ component: name, code: fault.code, message: fault.message })
    else findings.problem(name, fault)
  }
}

/** The codes of notes about components that the pipeline does not use. A fault in such a component does not matter. */
const unusedCodes: ReadonlySet<string> = new Set(['component-ignored', 'component-unknown'])

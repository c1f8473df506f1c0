/**
 * Whether Aquatint can run a checkpoint: each part is held against what the pipelines have, then all of it is loaded as a page would, short
 * of the weights.
 */

import { readConfig, readModelIndex } from '../src/checkpoint/layouts/model-index.js'
import { readQuantizationConfig } from '../src/checkpoint/quantization-config.js'
import type { WeightTable } from '../src/checkpoint/types.js'
import { AquatintError } from '../src/errors.js'
import type { ReadOptions, Repository } from '../src/hub/types.js'
import { pipelineSpecs } from '../src/pipelines/diffusion-pipeline.js'
import { findNetworkDefinition, networkDefinitions } from '../src/models/registry.js'
import { readModel, unexpectedTensors, type Network } from '../src/pipelines/bind-network.js'
import { loadParts, type PipelineSpec } from '../src/pipelines/loading/load-networks.js'
import { Run } from '../src/pipelines/run.js'
import { createScheduler } from '../src/schedulers/registry.js'
import { faultOf, type ComponentFiles } from './components.js'

/** Something about a component that a person should know. */
export interface Finding {
  /** '' for the whole checkpoint. */
  readonly component: string
  readonly code: string
  readonly message: string
}

/** What was found out about a checkpoint or one component of it. */
export class Findings {
  readonly problems: Finding[] = []
  readonly warnings: Finding[] = []

  /** What stops Aquatint from running it. */
  problem(component: string, code: string, message: string): void {
    // The check of the whole meets again what one of a component found.
    const known = this.problems.some((known) => component === '' && known.code === code && message.endsWith(known.message))
    if (!known) this.problems.push({ component, code, message })
  }

  warning(component: string, code: string, message: string): void {
    this.warnings.push({ component, code, message })
  }

  /** A fault: a problem, or where nobody uses the component only a warning. */
  fault(component: string, { code, message }: AquatintError, ignored: boolean): void {
    if (ignored) this.warning(component, code, message)
    else this.problem(component, code, message)
  }
}

/** Whether the pipeline never uses a component, which is then noted. */
export function noteIgnored(spec: PipelineSpec | undefined, component: string, findings: Findings): boolean {
  const ignored = spec !== undefined && Object.hasOwn(spec.ignored, component)
  if (ignored) findings.warning(component, 'component-ignored', `It is ${spec.ignored[component]}`)
  return ignored
}

/** The pipeline's description, or undefined and a problem. */
export function specOf(className: string | null, findings: Findings): PipelineSpec | undefined {
  const spec = pipelineSpecs.find((candidate) => candidate.className === className)
  const supported = pipelineSpecs.map((candidate) => candidate.className).join(', ')
  if (className !== null && spec === undefined)
    findings.problem('', 'unsupported-class', `The pipeline ${className} is not supported; supported: ${supported}.`)
  return spec
}

/** A component as a network of a pipeline, or undefined where it is none. @throws CheckpointError, UnsupportedError for a config that cannot be run */
export function networkOf(component: ComponentFiles, table: WeightTable): Network | undefined {
  const { name, className, config } = component
  const definition = findNetworkDefinition(className)
  if (definition === undefined || config === null) return undefined
  const { config: own, bits } = readQuantizationConfig(config)
  return { name, model: readModel(definition, own), table, repo: '', quantization: bits === null ? undefined : `q${bits}` }
}

/** Holds one component against what Aquatint has. @throws CheckpointError, UnsupportedError for what is wrong with it */
export async function checkComponent(
  repository: Repository,
  spec: PipelineSpec | undefined,
  component: ComponentFiles,
  table: WeightTable | null,
  findings: Findings,
  options: ReadOptions,
): Promise<void> {
  const { name, className, config } = component
  if (name === 'scheduler') createScheduler(className, await readConfig(repository, 'scheduler/scheduler_config.json', options))
  else if (table !== null) {
    const network = networkOf(component, table)
    if (config === null) findings.problem(name, 'file-not-found', 'It has no config.json.')
    else if (network === undefined) {
      const supported = networkDefinitions.map((definition) => definition.className)
      findings.problem(name, 'unsupported-class', `The class ${className} is not supported; supported: ${supported.join(', ')}.`)
    } else {
      const unexpected = unexpectedTensors(network)
      if (unexpected.length > 0)
        findings.warning(
          name,
          'unexpected-tensors',
          `${unexpected.length} tensors are no part of ${className} and are not used, such as ${unexpected[0]}.`,
        )
    }
  } else if (spec !== undefined && Object.hasOwn(spec.networks, name))
    findings.problem(name, 'weights-not-found', 'It has no weights.')
}

const noOther = () => Promise.reject(new AquatintError('other-repository', 'Nothing else is opened.'))

/** Loads all parts of a pipeline, short of the weights, as `fromPretrained` does. */
export async function checkWhole(
  repository: Repository,
  spec: PipelineSpec,
  variant: string | null,
  findings: Findings,
  signal: AbortSignal,
): Promise<void> {
  try {
    const index = await readModelIndex(repository, { signal })
    await loadParts(
      repository,
      index,
      spec,
      { variant: variant ?? undefined },
      noOther,
      ({ read }) => read(signal),
      new Run({ signal }),
    )
  } catch (error) {
    findings.fault('', faultOf(error), false)
  }
}

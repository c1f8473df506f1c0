/** Components named in the options of `fromPretrained` itself, as diffusers takes them: `fromPretrained(repo, { unet: … })`. Pure. */

import { componentLabels, type ComponentName } from '../../component-names.js'
import type { ComponentReference, LoadPipelineOptions } from '../../pipelines/types.js'

/** The components that `fromPretrained` can swap or leave out. */
export const componentNames = Object.keys(componentLabels) as readonly ComponentName[]

/** A repository id or reference to take a component from, or null to leave it out. */
export type ComponentOptions = {
  readonly [name in ComponentName]?: string | ComponentReference | null | undefined
}

/**
 * The same options with every component under `components`, where the engine looks, and their repositories as `address` writes them.
 * One that is named twice is taken from its own key.
 */
export function gatherComponents<Options extends ComponentOptions & LoadPipelineOptions>(
  options: Options,
  address: (repo: string) => string,
): Omit<Options, keyof ComponentOptions> {
  const components = { ...options.components }
  const rest: Omit<Options, keyof ComponentOptions> & ComponentOptions = { ...options }
  for (const name of componentNames) {
    const given = options[name]
    if (given !== undefined) components[name] = given
    delete rest[name]
  }
  for (const [name, given] of Object.entries(components)) {
    if (typeof given === 'string') components[name] = address(given)
    else if (given !== null) components[name] = { ...given, repo: address(given.repo) }
  }
  return Object.keys(components).length === 0 ? rest : { ...rest, components }
}

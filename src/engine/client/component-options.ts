/** Components given directly in the options of `fromPretrained`, as in diffusers: `fromPretrained(repo, { unet: … })`. Pure. */

import { componentNames, type ComponentName } from '../../component-names.js'
import type { ComponentReference, LoadPipelineOptions } from '../../pipelines/types.js'

/** For each component the repository to load it from, or null to omit it. */
export type ComponentOptions = {
  readonly [name in ComponentName]?: string | ComponentReference | null | undefined
}

/**
 * Moves every component to `components`, where the engine expects it, and resolves the repositories with `address`. If `components` has
 * a component already, the option with the component's name counts.
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

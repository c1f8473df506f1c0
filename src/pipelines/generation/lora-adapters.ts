/** The LoRAs of a loaded pipeline: which are loaded, which are active and how strongly. Named as in diffusers. */

import { InputError } from '../../errors.js'
import type { AdaptableLayers } from '../../checkpoint/lora/match-lora.js'
import type { LoraComponent } from '../../checkpoint/lora/lora-keys.js'
import { quantizedWeights } from '../../models/match-weights.js'
import type { AdapterForm } from '../../onnx/types.js'
import { networkKind } from '../../checkpoint/lora/unread-layers.js'
import { adaptableLayers, type Network } from '../bind-network.js'
import type { AdapterSource } from '../loading/adapters/open-adapter-file.js'
import { openEmbedding } from '../loading/adapters/open-embedding.js'
import { openLora, type OpenedLora } from '../loading/adapters/open-lora.js'
import type { OpenedPipeline } from '../loading/open-pipeline.js'
import type { ActiveAdapter, LayerFactors, NetworkAdapter } from '../network-adapters.js'
import type { LoadedParts } from '../loading/read-parts.js'
import { ActiveLoras } from '../active-loras.js'
import { Embeddings } from './embeddings.js'
import { loraNetworks } from '../lora-networks.js'
import { Run, type CallHooks } from '../run.js'
import type { AdapterCommand, FuseLoraOptions, LoraInfo, UnfuseLoraOptions } from '../adapter-types.js'

interface LoadedAdapter {
  readonly id: number
  readonly opened: OpenedLora
  /** The LoRA's weight in each component that it changes. The weights differ after a fusion with a scale into only some of the components. */
  readonly weights: Map<LoraComponent, number>
  /** Adapters that contain only some of the layers that the LoRA changes in a component, by the component and the names of these layers. */
  readonly parts: Map<string, NetworkAdapter>
}

/** An adapter whose changes are in the weights of a component. */
interface FusedAdapter {
  readonly name: string
  readonly weight: number
  /** The layers whose weights have the changes. */
  readonly layers: ReadonlySet<string>
}

/** A weight of a LoRA, 1 unless given. @throws InputError `adapter-weights` */
function checkedWeight(scale = 1, option = 'scale'): number {
  if (Number.isFinite(scale)) return scale
  throw new InputError('adapter-weights', `${option} is ${String(scale)}; allowed is a number.`, { [option]: String(scale) })
}

/** A rank to show. For a Kronecker product, it is the larger rank of its two matrices. */
function rankOf(form: AdapterForm): number {
  if (form.kind !== 'kronecker') return form.rank
  return Math.max(...[form.left, form.right].map(({ rows, columns, rank }) => rank ?? Math.min(rows, columns)))
}

/** The LoRAs and embeddings of a pipeline. */
export class LoraAdapters {
  /** The networks that LoRAs can change. */
  readonly #networks: ReadonlyMap<LoraComponent, Network>
  readonly #loaded = new Map<string, LoadedAdapter>()
  /** The active LoRAs of each component. */
  readonly #active: ReadonlyMap<LoraComponent, ActiveLoras>
  /** For each component, its fused adapters in the order in which they were fused. They change images whether they are active or not. */
  readonly #fused = new Map<LoraComponent, readonly FusedAdapter[]>()
  /** Codes and messages of the warnings for the next generation. */
  #warnings: (readonly [code: string, message: string])[] = []
  readonly #embeddings: Embeddings
  #nextId = 0
  #adaptableLayers: ReadonlyMap<LoraComponent, AdaptableLayers> | undefined

  constructor({ networks, words }: Pick<LoadedParts, 'networks' | 'words'>) {
    this.#embeddings = new Embeddings(networks, words)
    this.#networks = loraNetworks(networks)
    this.#active = new Map([...this.#networks.keys()].map((component) => [component, new ActiveLoras()]))
  }

  /** Runs a command. @throws as {@link openLora} for `load`; InputError `adapter-name`, `adapter-weights`, `components`; UnsupportedError `lora-fuse` */
  async run(
    command: AdapterCommand<AdapterSource>,
    { hub, options }: OpenedPipeline['opening'],
    hooks: CallHooks,
  ): Promise<readonly LoraInfo[]> {
    if (command.type === 'set') this.#set(command.names, command.weights)
    else if (command.type === 'delete') this.#delete(command.names)
    else if (command.type === 'fuse') this.#fuse(command.options ?? {})
    else if (command.type === 'unfuse') this.#unfuse(command.options ?? {})
    else if (command.type === 'delete-embeddings') this.#embeddings.clear()
    else if (command.type === 'load-embedding') {
      const run = new Run(hooks)
      run.status('downloading', ['embedding'])
      const opened = await openEmbedding(command.source, { hub, options: { ...options, ...command.options }, run })
      this.#embeddings.add(opened)
      const { token, vectors } = opened
      const most = Math.max(...[...vectors.values()].map((rows) => rows.length))
      if (most > 1 && token !== token.toLowerCase())
        run.warn(
          'embedding-capitals',
          `The word ${token} has ${most} vectors and capital letters: as in diffusers, prompts without promptWeighting get its first vector alone. Pass { token: ${JSON.stringify(token.toLowerCase())} } and write the word like this to use all.`,
        )
      run.status('ready')
    } else {
      const { source, options: own = {} } = command
      const name = this.#nameFor(own.adapterName)
      const weight = checkedWeight(own.scale)
      const run = new Run(hooks)
      run.status('downloading', ['lora'])
      const opened = await openLora(source, {
        hub,
        options: { ...options, ...own },
        layers: this.#adaptable(),
        isQuantized: (component, layer) => this.#isQuantized(component, layer),
        run,
      })
      this.#add(name, opened, weight)
      run.status('ready')
    }
    return this.#infos()
  }

  /** Gives a generation the warnings about LoRAs that are taken out of the weights, where diffusers would leave them in. Warns once. */
  warn(run: Run): void {
    for (const [code, message] of this.#warnings) run.warn(code, message)
    this.#warnings = []
  }

  /** Removes all LoRAs, which lets the cache evict their files. */
  dispose(): void {
    this.#delete()
  }

  /** The layers that can have branches of LoRAs. */
  #adaptable(): ReadonlyMap<LoraComponent, AdaptableLayers> {
    this.#adaptableLayers ??= new Map([...this.#networks].map(([component, { model }]) => [component, adaptableLayers(model)]))
    return this.#adaptableLayers
  }

  #isQuantized(component: LoraComponent, layer: string): boolean {
    const network = this.#networks.get(component)
    return network !== undefined && quantizedWeights(network.model, network.table)(`${layer}.weight`) !== undefined
  }

  /** The loaded LoRAs, in the order in which they were loaded. */
  #infos(): readonly LoraInfo[] {
    return [...this.#loaded].map(([adapterName, { opened, weights }]) => {
      const { file, factors, triggerWords, bytes } = opened
      const fused = [...factors.keys()].filter((component) => this.#isFused(component, adapterName))
      const active = [...factors.keys()].some((component) => this.#activeLayers(component, adapterName).length > 0)
      const ranks = [...factors.values()].flatMap((layers) => [...layers.values()].map(({ form }) => rankOf(form)))
      const nameOf = (component: LoraComponent) => this.#networks.get(component)?.name ?? component
      const [weight = 1] = weights.values()
      return {
        adapterName,
        file,
        components: [...factors.keys()].map(nameOf),
        layers: ranks.length,
        rank: Math.max(...ranks),
        triggerWords,
        bytes,
        weight,
        active: active || fused.length > 0,
        fusedInto: fused.map(nameOf),
      }
    })
  }

  /** The name of the next adapter: the given one, or `default_0`, `default_1`, …. @throws InputError `adapter-name` for a name in use */
  #nameFor(given: string | undefined): string {
    if (given === undefined) {
      let index = this.#loaded.size
      while (this.#loaded.has(`default_${index}`)) index++
      return `default_${index}`
    }
    if (typeof given !== 'string' || given === '' || this.#loaded.has(given)) {
      const message = `adapterName is ${JSON.stringify(given)}; allowed is a text that no loaded LoRA has.`
      throw new InputError('adapter-name', message, { adapterName: given, loaded: [...this.#loaded.keys()] })
    }
    return given
  }

  /** Adds a LoRA. As in diffusers, it becomes the only active one in each component that it changes. */
  #add(name: string, opened: OpenedLora, weight: number): void {
    const weights = new Map([...opened.factors.keys()].map((component) => [component, weight]))
    this.#loaded.set(name, { id: this.#nextId++, opened, weights, parts: new Map() })
    for (const component of opened.factors.keys()) this.#active.get(component)?.activate([name], this.#layersOf(component))
    this.#apply()
  }

  /**
   * Makes these LoRAs the active ones, with these weights, by default 1. Graphs are written again only if other LoRAs become active. A fused LoRA that
   * is not among them, or gets another weight, is no longer fused.
   * @throws InputError `adapter-name` for a name that is not loaded, `adapter-weights`
   */
  #set(names: readonly string[], weights: number | readonly number[] = 1): void {
    for (const name of names) this.#get(name)
    if (new Set(names).size < names.length)
      throw new InputError('adapter-name', `adapterNames has a name twice: ${names.join(', ')}.`, { names })
    const all = typeof weights === 'number' ? names.map(() => weights) : weights
    if (all.length !== names.length || !all.every((weight) => Number.isFinite(weight))) {
      const message = `adapterWeights is ${JSON.stringify(weights)}; allowed are one number, or a list of ${names.length} numbers.`
      throw new InputError('adapter-weights', message, { weights: all, names })
    }
    for (const [index, name] of names.entries()) {
      const { weights: own } = this.#get(name)
      for (const component of own.keys()) own.set(component, all[index] ?? 1)
    }
    const stays = (component: LoraComponent, { name, weight }: FusedAdapter) =>
      names.includes(name) && this.#get(name).weights.get(component) === weight
    this.#endFusions(stays, 'setAdapters has changed it')
    for (const [component, active] of this.#active) active.activate(names, this.#layersOf(component))
    this.#apply()
  }

  /** Fuses LoRAs into weights, beside those that are fused already. Changes nothing if it throws. */
  #fuse({ components, adapterNames, loraScale }: FuseLoraOptions): void {
    const scale = checkedWeight(loraScale, 'loraScale')
    const given = typeof adapterNames === 'string' ? [adapterNames] : adapterNames
    for (const name of given ?? []) this.#get(name)
    const added = this.#componentsNamed(components ?? this.#fusedByDefault()).map((component) => {
      const fusions = [...new Set(given ?? this.#active.get(component)?.names)].flatMap((name) => {
        const active = this.#activeLayers(component, name)
        const wanted = given === undefined ? active : this.#layers(component, name)
        const layers = new Set(wanted.filter((layer) => !this.#isFused(component, name, layer)))
        return layers.size === 0 ? [] : { name, layers, isActive: active.length === this.#layers(component, name).length }
      })
      const inactive = scale === 1 ? undefined : fusions.find(({ isActive }) => given !== undefined && !isActive)
      if (inactive !== undefined) {
        const { name } = inactive
        const message = `loraScale is ${scale}, which diffusers applies to active LoRAs only, and ${name} is not active. Make it active with setAdapters, or leave loraScale out.`
        throw new InputError('adapter-weights', message, { adapterName: name, loraScale: scale })
      }
      for (const { name, layers } of fusions) {
        const network = this.#networks.get(component)
        network?.adapters?.checkFusable(this.#adapterOf(component, name, layers), network.name)
      }
      return [component, fusions] as const
    })
    for (const [component, fusions] of added) {
      const fused = fusions.map(({ name, layers }): FusedAdapter => {
        const { weights } = this.#get(name)
        const weight = (weights.get(component) ?? 1) * scale
        weights.set(component, weight)
        return { name, weight, layers }
      })
      this.#fused.set(component, [...(this.#fused.get(component) ?? []), ...fused])
    }
    this.#apply()
  }

  /** The names of the components that `fuse_lora` of diffusers changes by default; undefined: all. Its classes for FLUX and Z-Image fuse the transformer alone. */
  #fusedByDefault(): readonly string[] | undefined {
    const denoiser = this.#networks.get('denoiser')
    if (denoiser === undefined || ['unet', 'sd3'].includes(networkKind(this.#adaptable().get('denoiser')))) return undefined
    return [denoiser.name]
  }

  /** Takes all LoRAs out of the weights of components. Those that are active are branches again. */
  #unfuse({ components }: UnfuseLoraOptions): void {
    for (const component of this.#componentsNamed(components)) this.#fused.delete(component)
    this.#apply()
  }

  /** The components with these names, by default all. @throws InputError `components` */
  #componentsNamed(names: readonly string[] | undefined): readonly LoraComponent[] {
    const known = new Map([...this.#networks].map(([component, { name }]) => [name, component]))
    if (names === undefined) return [...known.values()]
    const found = (Array.isArray(names) ? names : []).flatMap((name: string) => known.get(name) ?? [])
    if (found.length > 0 && found.length === names.length) return [...new Set(found)]
    const allowed = [...known.keys()]
    const message = `components is ${JSON.stringify(names)}; allowed is a list of one or more of ${allowed.join(', ')}.`
    throw new InputError('components', message, { components: names, allowed })
  }

  /** Whether a LoRA is fused into a layer, or into any layer if none is given. */
  #isFused(component: LoraComponent, name: string, layer?: string): boolean {
    const isIt = (one: FusedAdapter) => one.name === name && (layer === undefined || one.layers.has(layer))
    return this.#fused.get(component)?.some(isIt) === true
  }

  /** The layers of a component that a LoRA changes. */
  #layers(component: LoraComponent, name: string): readonly string[] {
    return [...(this.#get(name).opened.factors.get(component)?.keys() ?? [])]
  }

  /** The layers of a component in which a LoRA is active. */
  #activeLayers(component: LoraComponent, name: string): readonly string[] {
    return this.#layers(component, name).filter((layer) => this.#active.get(component)?.isActive(name, layer) === true)
  }

  /** For each loaded LoRA except `without`: the layers of the component that it changes. */
  #layersOf(component: LoraComponent, without?: string): ReadonlyMap<string, readonly string[]> {
    const names = [...this.#loaded.keys()].filter((name) => name !== without)
    return new Map(names.map((name) => [name, this.#layers(component, name)]))
  }

  /** Takes fused LoRAs out of the weights, except those that `stays` accepts. `why`: for the warning of the next generation. */
  #endFusions(stays: (component: LoraComponent, fused: FusedAdapter) => boolean, why: string): void {
    const ended = new Set<string>()
    for (const [component, fused] of this.#fused) {
      for (const one of fused) if (!stays(component, one)) ended.add(one.name)
      this.#fused.set(
        component,
        fused.filter((one) => stays(component, one)),
      )
    }
    for (const name of ended)
      this.#warnings.push([
        'lora-unfused',
        `The LoRA ${name} is no longer fused into the weights, because ${why}. diffusers would leave it in them.`,
      ])
  }

  /** Removes LoRAs, by default all. As in diffusers, a layer whose active LoRAs are all removed gets another one that changes it. @throws InputError `adapter-name` for a name that is not loaded */
  #delete(names: readonly string[] = [...this.#loaded.keys()]): void {
    const removed = new Set(names.map((name) => this.#get(name)))
    this.#endFusions((_, { name }) => !names.includes(name), 'it has been removed')
    for (const name of names) {
      for (const [component, active] of this.#active) active.remove(name, this.#layersOf(component, name))
      this.#loaded.delete(name)
    }
    this.#apply()
    for (const { opened } of removed) opened.close()
  }

  #get(name: string): LoadedAdapter {
    const found = this.#loaded.get(name)
    if (found !== undefined) return found
    const loaded = [...this.#loaded.keys()]
    const message = `There is no LoRA ${JSON.stringify(name)}; loaded: ${loaded.join(', ') || 'none'}.`
    throw new InputError('adapter-name', message, { adapterName: name, loaded })
  }

  /** A LoRA's factors for these layers of a component. Equal layers give the same object. */
  #adapterOf(component: LoraComponent, name: string, layers: ReadonlySet<string>): NetworkAdapter {
    const { id, opened, parts } = this.#get(name)
    const all = opened.factors.get(component) ?? new Map<string, LayerFactors>()
    if (layers.size === all.size) return { id, layers: all }
    const wanted = [...all].filter(([layer]) => layers.has(layer))
    const key = [component, ...wanted.map(([layer]) => layer)].join(' ')
    const part = parts.get(key) ?? { id: this.#nextId++, layers: new Map(wanted) }
    parts.set(key, part)
    return part
  }

  #apply(): void {
    for (const [component, network] of this.#networks) {
      const withWeight = (name: string, layers: ReadonlySet<string>, weight = 1): ActiveAdapter => ({
        adapter: this.#adapterOf(component, name, layers),
        weight,
      })
      const active = (this.#active.get(component)?.names ?? []).flatMap((name) => {
        const layers = this.#activeLayers(component, name).filter((layer) => !this.#isFused(component, name, layer))
        return layers.length === 0 ? [] : withWeight(name, new Set(layers), this.#get(name).weights.get(component))
      })
      const fused = this.#fused.get(component)?.map(({ name, layers, weight }) => withWeight(name, layers, weight))
      network.adapters?.activate(active, fused)
    }
  }
}

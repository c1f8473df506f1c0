/**
 * Builds a component from named stages. With granularity `component`, the bodies of all stages go into one program, except those of stages
 * that run once: they go into another program, which runs before it. With `block`, each stage becomes a program of its own, and stages
 * whose programs have equal bytes share one. The same model code serves both granularities.
 */

import { GraphBuilder } from './graph-builder.js'
import type { ComponentGraph, ElementType, Program, Stage, ValueInfo, WriteOptions } from './types.js'

/** The values of a stage, by the names that its body uses. */
export type Values<Name extends string> = Readonly<Record<Name, ValueInfo>>

/** The inputs of a stage, by the names that its body uses. Values that are undefined are left out. */
type StageInputs = Readonly<Record<string, ValueInfo | undefined>>

/** A component while it is being built. */
export class ComponentBuilder {
  readonly options: WriteOptions
  readonly #name: string
  /** With granularity `component`: the program that runs each time. */
  readonly #whole: GraphBuilder | undefined
  /** With granularity `component`: the program that runs once. */
  readonly #first: GraphBuilder | undefined
  readonly #inputs: ValueInfo[] = []
  /** Values that both programs can read: the component's inputs. */
  readonly #given = new Set<string>()
  /** The results of stages that run once, as values of the program that computes them, by their names in the component. */
  readonly #onceValues = new Map<string, ValueInfo>()
  /** With granularity `component`: the inputs that each program has declared, by name. */
  readonly #declared = new Map<GraphBuilder, Map<string, ValueInfo>>()
  /** Inputs that bodies of stages declared for the whole component, by name. */
  readonly #fromBodies = new Map<string, ValueInfo>()
  readonly #outputs: ValueInfo[] = []
  readonly #stages: Stage[] = []
  readonly #onceStages: Stage[] = []
  readonly #programs = new Map<string, Program>()
  /** With `block`: the public names of the component values that have one. */
  readonly #published = new Map<string, string>()

  constructor(name: string, options: WriteOptions) {
    this.#name = name
    this.options = options
    this.#whole = options.granularity === 'component' ? new GraphBuilder(options) : undefined
    this.#first = options.granularity === 'component' ? new GraphBuilder(options) : undefined
  }

  /** Declares an input of the component. */
  input(name: string, type: ElementType, dims: readonly number[]): ValueInfo {
    if (this.#given.has(name)) throw new Error(`The input ${name} is declared twice`)
    const value = { name, type, dims }
    this.#given.add(name)
    this.#inputs.push(value)
    return value
  }

  /**
   * Adds a stage. `body` receives a graph and `inputs` as that graph names them, and returns the stage's outputs. Weight names in the body are
   * relative to `prefix` (by default the stage's name), so that stages that differ only in their names share a program.
   */
  stage<In extends StageInputs, Out extends string>(
    name: string,
    inputs: In,
    body: (graph: GraphBuilder, inputs: In) => Values<Out>,
    prefix: string = name,
  ): Values<Out> {
    const whole = this.#whole
    if (whole !== undefined) {
      const local = mapInputs(inputs, (value) => this.#valueIn(whole, value))
      return whole.scoped(prefix, () => body(whole, local))
    }
    return this.#addStage(name, inputs, body, prefix, false)
  }

  /**
   * Adds a stage whose results stay the same from run to run: its inputs are inputs of the component that stay the same, or results of such stages.
   * Otherwise as {@link stage}.
   */
  onceStage<In extends StageInputs, Out extends string>(
    name: string,
    inputs: In,
    body: (graph: GraphBuilder, inputs: In) => Values<Out>,
    prefix: string = name,
  ): Values<Out> {
    for (const value of Object.values(givenOf(inputs)))
      if (!this.#given.has(value.name) && !this.#onceValues.has(value.name))
        throw new Error(`${name} runs once and cannot depend on ${value.name}`)
    const first = this.#first
    const results =
      first === undefined
        ? this.#addStage(name, inputs, body, prefix, true)
        : first.scoped(prefix, () =>
            body(
              first,
              mapInputs(inputs, (value) => this.#valueIn(first, value)),
            ),
          )
    return mapValues(results, (value, key) => {
      const shared = { name: `${name}/${key}`, type: value.type, dims: value.dims }
      this.#onceValues.set(shared.name, value)
      return shared
    })
  }

  /** With granularity `component`: a stage's input as a program names it. Values from outside the program are declared when it first reads them. */
  #valueIn(graph: GraphBuilder, value: ValueInfo): ValueInfo {
    const computed = this.#onceValues.get(value.name)
    if (graph === this.#first && computed !== undefined) return computed
    if (computed === undefined && !this.#given.has(value.name)) return value
    const declared = this.#declared.get(graph) ?? new Map<string, ValueInfo>()
    this.#declared.set(graph, declared)
    const known = declared.get(value.name)
    if (known !== undefined) return known
    if (computed !== undefined) this.#first?.output(value.name, computed)
    const input = graph.input(value.name, value.type, value.dims)
    declared.set(value.name, input)
    return input
  }

  /** With granularity `block`: adds the program of a stage. */
  #addStage<In extends StageInputs, Out extends string>(
    name: string,
    inputs: In,
    body: (graph: GraphBuilder, inputs: In) => Values<Out>,
    prefix: string,
    once: boolean,
  ): Values<Out> {
    const graph = new GraphBuilder(this.options, prefix)
    const local = mapInputs(inputs, (value, key) => graph.input(key, value.type, value.dims))
    const results = body(graph, local)
    for (const key of keysOf(results)) graph.output(`${key}_out`, results[key])
    const shared = graph.componentInputs
    for (const input of shared) this.#fromBodies.set(input.name, input)
    const program = this.#share(graph.finish('stage'))
    const outputs = mapValues(results, (value, key) => ({ name: `${name}/${key}`, type: value.type, dims: value.dims }))
    const stages = once ? this.#onceStages : this.#stages
    stages.push({
      name,
      program,
      inputs: { ...mapValues(givenOf(inputs), (value) => value.name), ...ownNames(shared) },
      weights: Object.fromEntries(
        program.weights.map((weight) => [weight.name, prefix === '' ? weight.name : `${prefix}.${weight.name}`]),
      ),
      outputs: Object.fromEntries(keysOf(outputs).map((key) => [`${key}_out`, outputs[key].name])),
      ...(once ? { once } : {}),
    })
    return outputs
  }

  /** Declares `value` as an output of the component under `name`. */
  output(name: string, value: ValueInfo): void {
    if (this.#whole !== undefined) this.#whole.output(name, this.#valueIn(this.#whole, value))
    if (this.#whole === undefined) {
      if (this.#published.has(value.name)) throw new Error(`${value.name} is declared as an output twice`)
      this.#published.set(value.name, name)
    }
    this.#outputs.push({ name, type: value.type, dims: value.dims })
  }

  /** Returns the finished component. */
  finish(): ComponentGraph {
    for (const graph of [this.#first, this.#whole])
      for (const input of graph?.componentInputs ?? []) this.#fromBodies.set(input.name, input)
    const inputs = [...this.#inputs, ...this.#fromBodies.values()]
    const outputs = this.#outputs
    if (this.#whole === undefined) return { stages: this.#publishedStages(), inputs, outputs }
    const first = this.#onceValues.size === 0 ? undefined : this.#first?.finish(`${this.#name}, once`)
    const once =
      first === undefined || first.outputs.length === 0
        ? []
        : [{ ...wholeStage(`${this.#name}, once`, first), once: true } as const]
    return { stages: [...once, wholeStage(this.#name, this.#whole.finish(this.#name))], inputs, outputs }
  }

  #share(program: Program): Program {
    const known = this.#programs.get(program.key)
    if (known !== undefined) return known
    this.#programs.set(program.key, program)
    return program
  }

  /** Returns the stages, with the component's outputs renamed to their public names. */
  #publishedStages(): Stage[] {
    const rename = (names: Readonly<Record<string, string>>) => mapValues(names, (name) => this.#published.get(name) ?? name)
    return [...this.#onceStages, ...this.#stages].map((stage) =>
      Object.assign({}, stage, { inputs: rename(stage.inputs), outputs: rename(stage.outputs) }),
    )
  }
}

/** A stage whose inputs, weights and outputs have the same names in the program and in the component. */
function wholeStage(name: string, program: Program): Stage {
  const { inputs, weights, outputs } = program
  return { name, program, inputs: ownNames(inputs), weights: ownNames(weights), outputs: ownNames(outputs) }
}

function ownNames(values: readonly ValueInfo[]): Record<string, string> {
  return Object.fromEntries(values.map(({ name }) => [name, name]))
}

function keysOf<Key extends string>(record: Readonly<Record<Key, unknown>>): Key[] {
  return Object.keys(record) as Key[]
}

function mapValues<Key extends string, From, To>(
  record: Readonly<Record<Key, From>>,
  change: (value: From, key: Key) => To,
): Record<Key, To> {
  return Object.fromEntries(keysOf(record).map((key) => [key, change(record[key], key)])) as Record<Key, To>
}

/** The inputs that are not undefined. */
function givenOf(inputs: StageInputs): Record<string, ValueInfo> {
  return Object.fromEntries(
    Object.entries(inputs).flatMap(([key, value]) => (value === undefined ? [] : [[key, value] as const])),
  )
}

/** Replaces each input that is not undefined. */
function mapInputs<In extends StageInputs>(inputs: In, change: (value: ValueInfo, key: string) => ValueInfo): In {
  return mapValues(givenOf(inputs), change) as In
}

import { expect, test } from 'vitest'
import { StepRunner, type Arithmetic, type Part } from './step-runner.js'

/** Arithmetic on numbers in place of arrays. Records what was created and disposed. */
function counting() {
  const sums: (readonly Part<{ value: number }>[])[] = []
  const alive = new Set<{ value: number }>()
  const add = (value: number) => {
    const made = { value }
    alive.add(made)
    return made
  }
  let drawn = 0
  const arithmetic: Arithmetic<{ value: number }> = {
    sum: (parts, bound = Infinity) => {
      sums.push(parts)
      for (const { value } of parts) if (value !== sample && value !== output && !alive.has(value)) throw new Error('gone')
      return add(
        Math.min(
          bound,
          parts.reduce((total, { value, scale }) => total + scale * value.value, 0),
        ),
      )
    },
    noise: () => add(1000 * ++drawn),
    dispose: (value) => {
      if (!alive.delete(value)) throw new Error('given back twice')
    },
  }
  const sample = { value: 3 }
  const output = { value: 5 }
  return { arithmetic, sums, alive, sample, output, drawn: () => drawn }
}

test('sums that only another sum uses are folded into it: one sum, each array once, factors multiplied', () => {
  const { arithmetic, sums, alive, sample, output } = counting()
  const runner = new StepRunner(arithmetic)
  const next = runner.step(
    {
      sums: [
        {
          name: 'image',
          terms: [
            [2, 'sample'],
            [-4, 'output'],
          ],
        },
        {
          name: 'next',
          terms: [
            [0.5, 'image'],
            [1, 'sample'],
            [0, 'nothing'],
          ],
        },
      ],
    },
    sample,
    [
      { value: output, scale: 10 },
      { value: output, scale: -9, offset: 7 },
    ],
  )
  expect(sums).toEqual([
    [
      { value: sample, offset: 0, scale: 2 },
      { value: output, offset: 0, scale: -20 },
      { value: output, offset: 7, scale: 18 },
    ],
  ])
  expect([...alive]).toEqual([next])
})

test('an array whose factors cancel is left out, and noise that no sum needs is not drawn', () => {
  const { arithmetic, sums, sample, output, drawn } = counting()
  const plan = {
    sums: [
      {
        name: 'slope',
        terms: [
          [0.25, 'sample'],
          [-0.25, 'output'],
        ],
      },
      {
        name: 'next',
        terms: [
          [4, 'slope'],
          [-1, 'sample'],
          [0, 'noise'],
        ],
      },
    ],
  } as const
  new StepRunner(arithmetic).step(plan, sample, [{ value: output, scale: 1 }])
  expect(sums).toEqual([[{ value: output, offset: 0, scale: -1 }]])
  expect(drawn()).toBe(0)
})

test('bounded, rounded and kept sums become arrays; kept arrays live until a plan drops them, the others are disposed at once', () => {
  const { arithmetic, sums, alive, sample, output } = counting()
  const runner = new StepRunner(arithmetic)
  const first = runner.step(
    {
      sums: [
        { name: 'image', terms: [[1, 'output']], bound: 2 },
        {
          name: 'prediction 0',
          terms: [
            [1, 'image'],
            [1, 'noise'],
          ],
        },
        { name: 'next', terms: [[1, 'prediction 0']] },
      ],
      keep: ['prediction 0'],
    },
    sample,
    [{ value: output, scale: 1 }],
  )
  expect(first.value).toBe(1002)
  expect(sums).toHaveLength(3)
  expect([...runner.kept.keys()]).toEqual(['prediction 0'])
  expect(alive).toEqual(new Set([first, ...runner.kept.values()]))
  // Another runner continues from the kept arrays.
  const second = new StepRunner(arithmetic, runner.kept).step(
    {
      sums: [
        {
          name: 'next',
          terms: [
            [1, 'prediction 0'],
            [1, 'noise'],
          ],
        },
      ],
    },
    first,
    [{ value: output, scale: 1 }],
  )
  expect(second.value).toBe(3002)
  expect(alive).toEqual(new Set([first, second]))
})

test('a factor that is not finite is an error', () => {
  const { arithmetic, sample, output } = counting()
  const plan = { sums: [{ name: 'next', terms: [[1 / 0, 'output']] }] } as const
  expect(() => new StepRunner(arithmetic).step(plan, sample, [{ value: output, scale: 1 }])).toThrow(
    expect.objectContaining({ code: 'not-finite' }),
  )
})

/** Recognizing and changing a kernel's text. */
import { expect, test } from 'vitest'
import { applyEdits, sumType, type KernelEdits } from './kernel-edit.js'

const text = `enable f16;
@group(0) @binding(0) var<storage, read> x: array<vec4<f16>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f16>>;
alias value_t = vec4<f16>;
const tile = 8;
fn main() {
  var sum = value_t(0);
  sum += x[0];
  sum += x[1];
  y[0] = sum;
}
`

const kernel: KernelEdits = {
  label: 'Made up',
  bindings: [['x', 'y']],
  constants: ['tile'],
  edits: [
    sumType('value_t'),
    { find: /var sum = value_t\(0\);/g, by: 'var sum = sum_t(0);' },
    { find: /sum \+= (x\[\d\]);/g, by: 'sum += sum_t($1);', times: 2 },
    { find: /= sum;/g, by: '= value_t(sum);' },
  ],
}

test('a recognized kernel sums in float32 and stores its own type', () => {
  const edited = applyEdits(text, kernel)
  expect(edited).toContain('alias value_t = vec4<f16>;\nalias sum_t = vec4<f32>;')
  expect(edited).toContain('sum += sum_t(x[0]);\n  sum += sum_t(x[1]);\n  y[0] = value_t(sum);')
  expect(edited).toContain('array<vec4<f16>>')
})

test.each([
  ['another binding', text.replace('read> x:', 'read> z:')],
  ['one more binding', text.replace('alias', '@group(0) @binding(2) var<storage, read> bias: array<f16>;\nalias')],
  ['another name of a constant', text.replace('const tile', 'const other')],
  ['one more sum', text.replace('  y[0]', '  sum += x[2];\n  y[0]')],
  ['another result', text.replace('= sum;', '= sum * 2;')],
  ['another type', text.replace('alias value_t = vec4<f16>', 'alias value_t = vec4<f32>')],
])('a text with %s is another kernel', (_, other) => {
  expect(other).not.toBe(text)
  expect(applyEdits(other, kernel)).toBeUndefined()
})

test('a text with arithmetic that the edits do not cover is another kernel', () => {
  expect(applyEdits(text, { ...kernel, never: /tile = 8/ })).toBeUndefined()
})

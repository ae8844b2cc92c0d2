import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as fc from 'fast-check'

import { html } from './html.ts'

test('escapes values, and keeps what is HTML already', () => {
  const inner = html`<b title="${'"x" onclick=\'y\''}">${'<script>'}</b>`
  const list = [html`<i>1</i>`, html`<i>2</i>`]
  assert.equal(
    html`<p>${inner}${list}${undefined}${false}${0}</p>`.toString(),
    '<p><b title="&#34;x&#34; onclick=&#39;y&#39;">&#60;script&#62;</b><i>1</i><i>2</i>0</p>',
  )
})

test('lets no value out of its text or its attribute', () => {
  fc.assert(
    fc.property(fc.string(), (value) => {
      const text = html`${value}`.toString()
      assert.doesNotMatch(text, /[<>"'`]/)
      assert.doesNotMatch(text, /&(?!#\d+;)/)
      const back = text.replaceAll(/&#(\d+);/g, (_match, code) => String.fromCharCode(Number(code)))
      assert.equal(back, value)
    }),
  )
})

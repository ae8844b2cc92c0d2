import { createHash } from 'node:crypto'

import { html, Html } from './html.ts'
import type { StatusView } from './page-parts.ts'
import {
  factsSection,
  failuresSection,
  headingSection,
  imagesSection,
  peersSection,
} from './status-sections.ts'
import { STATUS_SCRIPT, STATUS_STYLE } from './status-style.ts'
import { movingSection } from './transfer-section.ts'

/** Nothing from elsewhere may be loaded, run or framed, even if a value got through unescaped. */
export const STATUS_PAGE_POLICY = [
  "default-src 'none'",
  `style-src '${sourceHash(STATUS_STYLE)}'`,
  `script-src '${sourceHash(STATUS_SCRIPT)}'`,
  "connect-src 'self'",
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

const STYLE_ELEMENT = Html.constant(`<style>${STATUS_STYLE}</style>`)
const SCRIPT_ELEMENT = Html.constant(`<script>${STATUS_SCRIPT}</script>`)

/** The page that answers: what failed last and what to do, what moves, who are my peers, what do I hold. */
export function renderStatusPage(view: StatusView): string {
  const { status } = view
  const page = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${status.nodeName} · ddocker</title>
        <link rel="icon" href="data:," />
        ${STYLE_ELEMENT}
      </head>
      <body>
        <p class="lost" role="status">The node does not answer. This is the last that it said.</p>
        <main>
          ${headingSection(view)} ${factsSection(status)} ${failuresSection(view)}
          ${movingSection(view)} ${peersSection(view)} ${imagesSection(view)}
        </main>
        <footer>
          The same as data: <a href="/api/v1/status">status</a>,
          <a href="/api/v1/transfers">transfers</a>, <a href="/api/v1/peers">peers</a>,
          <a href="/api/v1/images">images</a>, <a href="/metrics">metrics</a>. To change something:
          <code>ddocker --help</code>
        </footer>
        ${SCRIPT_ELEMENT}
      </body>
    </html>`
  return page.toString()
}

/** CSP, Hash Usage for script and style elements */
function sourceHash(source: string): string {
  return `sha256-${createHash('sha256').update(source).digest('base64')}`
}

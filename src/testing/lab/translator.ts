/** Translation of addresses (NAT) by the router of a network whose hosts are apart. */
import { mustRun } from './child.ts'
import type { NetworkHost } from './network.ts'

/**
 * Puts `inner` behind `router`: all that it sends has the address of the router, and nothing gets to it by its own. What
 * comes to the router at `forwardedPort` goes on to it, TCP and UDP.
 */
export async function putBehind(
  router: NetworkHost,
  { inner, forwardedPort }: { inner: NetworkHost; forwardedPort?: number },
): Promise<void> {
  const rules = [
    `-t nat -A POSTROUTING -s ${inner.address} -j SNAT --to-source ${router.address}`,
    `-A FORWARD -d ${inner.address} -m conntrack --ctstate DNAT -j ACCEPT`,
    `-A FORWARD -d ${inner.address} -m conntrack --ctstate NEW -j DROP`,
  ]
  const forwards = ['tcp', 'udp'].map(
    (protocol) =>
      `-t nat -A PREROUTING -d ${router.address} -p ${protocol} --dport ${forwardedPort} -j DNAT --to ${inner.address}`,
  )
  for (const rule of [...rules, ...(forwardedPort === undefined ? [] : forwards)]) {
    await mustRun('iptables', rule.split(' '), { prefix: [...router.prefix] })
  }
}

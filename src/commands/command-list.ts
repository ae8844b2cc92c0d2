/** Every verb, as far as the command line must know it: its words, its help, and where its code is. */
import type { Command } from './command.ts'

interface FlagDefinition {
  /** as commander reads it: `--name <ref>` */
  readonly flags: string
  readonly help: string
  readonly defaultValue?: string
}

interface CommandDefinition {
  /** with its operands as commander reads them: `pull <image>` */
  readonly usage: string
  readonly summary: string
  /** the rest of the help */
  readonly description?: string
  readonly group: string
  readonly flags?: readonly FlagDefinition[]
  /** takes every option of the node (`all`), or those that tell which swarm it is in, or where its door is */
  readonly nodeOptions?: 'all' | 'swarm' | 'door'
  readonly examples?: readonly string[]
  /** loaded when the verb is used: help and `--version` stay quick */
  readonly load: () => Promise<Command>
}

export interface CommandGroup {
  readonly usage: string
  readonly summary: string
  readonly group: string
  readonly commands: readonly CommandDefinition[]
}

const RUN = 'Run a node:'
const SHARE = 'Share images:'
const FETCH = 'Fetch images:'
const LOOK = 'Look:'
const MEET = 'Meet other nodes:'

const ENGINE_FLAGS: readonly FlagDefinition[] = [
  { flags: '--docker', help: 'this engine; without such a flag all that are found' },
  { flags: '--containerd', help: 'Kubernetes, nerdctl and others with containerd' },
  { flags: '--podman', help: 'Podman, Buildah, Skopeo and CRI-O: they share their files' },
  { flags: '--buildkit', help: 'a buildkitd of its own; the one in Docker comes with --docker' },
  { flags: '--root <dir>', help: 'the engines of another tree, such as a mounted image' },
]
const DRY_RUN: FlagDefinition = { flags: '--dry-run', help: 'show the changes, and make none' }

const PUBLISH_HELP = `Beside its own swarm the node opens a public side: a port (--public-port of serve, TCP and UDP),
an identity, a name and a DHT of its own, found as --public-discovery says. It closes when nothing
is published any more, and comes back when the node starts. Prints a magnet link for each blob: any
BitTorrent client fetches it, and nodes with --swarm public pull the image by its name.

What is published is what of the image is here now: of an image index the manifests that this node
holds. Without --own, only what its registry gives to everybody at this moment, and what never
needed a login. An image that turns out to need one, or that is removed here, is withdrawn.

Who learns what:
  everybody              name, digests and bytes of what is published, the address of this host,
                         and that it runs ddocker; not the swarm, its key, its members, or what
                         else is here
  the DHT, and crawlers  which infohashes are at this address; they keep it
  members of your swarm  nothing new
  the registry           that this host asks, without a login, whether everybody may have the image

What was copied cannot be taken back.`

export const COMMANDS: readonly (CommandDefinition | CommandGroup)[] = [
  {
    usage: 'serve',
    summary: 'run the node',
    description:
      'Runs until SIGTERM or SIGINT, which let transfers end; a second one ends at once. Prints one line\n' +
      '"ready {json}" when everything answers. Logs go to stderr, as JSON lines where that is no terminal.\n\n' +
      'Every option is also a variable (DDOCKER_PEER_PORT) and a key in config.json in the data directory\n' +
      '("peerPort"). A flag comes before the variable, the variable before the file.',
    group: RUN,
    nodeOptions: 'all',
    examples: ['ddocker serve', 'ddocker serve --upload-limit 20MiB/s --discovery lan'],
    load: async () => (await import('./serve.ts')).serve,
  },
  {
    usage: 'doctor',
    summary: 'explain what does not work, and how to mend it',
    group: RUN,
    nodeOptions: 'all',
    load: async () => (await import('./doctor.ts')).doctor,
  },
  {
    usage: 'mirror',
    summary: 'put the node in front of the engines of this host',
    group: RUN,
    commands: [
      {
        usage: 'install',
        summary: 'let engines ask the node first, and their registries after it',
        description:
          'Names of images stay what they are. Files that are there keep every byte and get a few lines\n' +
          'more; what they were is kept for `mirror remove`. Running it twice changes nothing.',
        group: RUN,
        flags: [
          ...ENGINE_FLAGS,
          {
            flags: '--also <hosts>',
            help: 'more registries, with commas between them, for engines that must be told each by name',
          },
          DRY_RUN,
        ],
        nodeOptions: 'door',
        examples: [
          'ddocker mirror install --dry-run',
          'ddocker mirror install --podman --also registry.acme.org',
        ],
        load: async () => (await import('./mirror.ts')).mirrorInstall,
      },
      {
        usage: 'remove',
        summary: 'give the files of engines back as they were',
        group: RUN,
        flags: [...ENGINE_FLAGS, DRY_RUN],
        nodeOptions: 'door',
        load: async () => (await import('./mirror.ts')).mirrorRemove,
      },
      {
        usage: 'status',
        summary: 'ask every engine for an image, and see whether the question comes to the node',
        description:
          'Exit code 0 if it comes from all of them, 3 if not. Nothing is pulled, nobody else is asked.',
        group: RUN,
        flags: ENGINE_FLAGS,
        nodeOptions: 'door',
        load: async () => (await import('./mirror-status.ts')).mirrorStatus,
      },
    ],
  },
  {
    usage: 'demo',
    summary: 'see it all on this machine: three nodes, offline, in a minute',
    description:
      'Makes an image, shares it from one node, pulls it with two others at the same time, kills the first one\n' +
      'midway, and shows who sent what to whom. Contacts nothing outside this machine and removes all it made.',
    group: RUN,
    flags: [
      { flags: '--size <size>', help: 'how large the image is', defaultValue: '48MiB' },
      { flags: '--no-engine', help: 'do not end with a docker pull, even if an engine answers' },
    ],
    load: async () => (await import('./demo.ts')).demo,
  },
  {
    usage: 'version',
    summary: 'print the version',
    group: RUN,
    load: async () => (await import('./version.ts')).version,
  },
  {
    usage: 'seed <image...>',
    summary: 'share images that the local engine holds',
    group: SHARE,
    examples: ['ddocker seed myapp:1 nginx:latest'],
    load: async () => (await import('./seed.ts')).seed,
  },
  {
    usage: 'seed-all',
    summary: 'share everything that the local engine holds',
    group: SHARE,
    flags: [{ flags: '--watch', help: 'go on with what the engine gets later, until Ctrl-C' }],
    load: async () => (await import('./seed.ts')).seedAll,
  },
  {
    usage: 'import <path>',
    summary: 'share an image from a docker save tar or an OCI layout, no engine needed',
    description: 'Takes a file or a folder. Works with a running node, and without one.',
    group: SHARE,
    flags: [{ flags: '--name <reference>', help: 'name for an archive that carries none' }],
    nodeOptions: 'swarm',
    examples: ['docker save myapp:1 -o myapp.tar', 'ddocker import myapp.tar'],
    load: async () => (await import('./seed.ts')).importArchive,
  },
  {
    usage: 'torrent <image...>',
    summary: 'write a .torrent file for every blob of images',
    group: SHARE,
    flags: [{ flags: '-o, --output <dir>', help: 'where to write them', defaultValue: '.' }],
    nodeOptions: 'swarm',
    examples: ['ddocker torrent myapp:1 -o torrents'],
    load: async () => (await import('./torrent.ts')).torrent,
  },
  {
    usage: 'publish <image...>',
    summary: 'share images with everybody, in the public swarm',
    description: PUBLISH_HELP,
    group: SHARE,
    flags: [
      { flags: '--own', help: 'the images are yours to share: no registry is asked' },
      { flags: '-o, --output <dir>', help: 'also write a .torrent file for every blob there' },
      {
        flags: '--address <address>',
        help: 'put where this node is reached from outside into the links: host or host:port',
      },
    ],
    examples: ['ddocker publish alpine:3.20', 'ddocker publish local/myapp:1 --own -o torrents'],
    load: async () => (await import('./publish.ts')).publish,
  },
  {
    usage: 'unpublish <image...>',
    summary: 'share images in the public swarm no more; what others copied stays with them',
    group: SHARE,
    examples: ['ddocker unpublish alpine:3.20'],
    load: async () => (await import('./publish.ts')).unpublish,
  },
  {
    usage: 'pull <image>',
    summary: 'fetch an image through the swarm, and load it into the engine',
    group: FETCH,
    flags: [{ flags: '--no-load', help: 'keep it in the node only' }],
    examples: ['ddocker pull nginx:latest', 'ddocker pull node/laptop/myapp:1 --no-load'],
    load: async () => (await import('./pull.ts')).pull,
  },
  {
    usage: 'warm <image...>',
    summary: 'bring images to every node of the swarm before they are needed',
    group: FETCH,
    flags: [
      { flags: '--nodes <names>', help: 'only these nodes, with commas between them' },
      { flags: '--load', help: 'also load them into the engines' },
      { flags: '--parallel <count>', help: 'nodes at once', defaultValue: '16' },
    ],
    examples: ['ddocker warm myapp:2 --load', 'ddocker warm myapp:2 --nodes web-1,web-2'],
    load: async () => (await import('./warm.ts')).warm,
  },
  {
    usage: 'ls',
    summary: 'list the images that this node holds',
    group: LOOK,
    load: async () => (await import('./ls.ts')).ls,
  },
  {
    usage: 'explain <image>',
    summary: 'say which byte of an image came from where, and what was waited for',
    description: 'Tells of the last pull through this node; asks nobody.',
    group: LOOK,
    examples: ['ddocker explain nginx:latest', 'ddocker explain ghcr.io/acme/app:1 --json'],
    load: async () => (await import('./explain.ts')).explain,
  },
  {
    usage: 'status',
    summary: 'show the node, and what moves',
    group: LOOK,
    load: async () => (await import('./status.ts')).status,
  },
  {
    usage: 'peers',
    summary: 'show who is there',
    group: LOOK,
    load: async () => (await import('./peers.ts')).peers,
  },
  {
    usage: 'swarm',
    summary: 'who may meet this node',
    group: MEET,
    commands: [
      {
        usage: 'id',
        summary: 'print the name of the swarm; it tells nothing of the key',
        group: MEET,
        nodeOptions: 'swarm',
        load: async () => (await import('./swarm.ts')).swarmId,
      },
      {
        usage: 'invite',
        summary: 'print a line that lets others join; whoever reads it is a member',
        description:
          'Without options the line carries the key of the swarm: it is good for ever, and nobody has to\n' +
          'be there. With --expires, --once or --address it is a ticket: until it ends, whoever has it gets\n' +
          'the key from this node, which has to run and to be reached.',
        group: MEET,
        flags: [
          {
            flags: '--expires <duration>',
            help: 'honour it this long, such as 10m or 12h; at most 365d',
          },
          {
            flags: '--once',
            help: 'for one node; it ends after a day unless --expires says otherwise',
          },
          {
            flags: '--address <addresses>',
            help: 'where this node is reached, host:port with commas between; else the addresses of this host',
          },
          { flags: '--qr', help: 'show it as a QR code too' },
        ],
        examples: ['ddocker swarm invite', 'ddocker swarm invite --once --expires 10m --qr'],
        nodeOptions: 'swarm',
        load: async () => (await import('./swarm.ts')).swarmInvite,
      },
      {
        usage: 'members',
        summary:
          'show who is in the swarm, this node first: where, what it holds, when it was seen',
        group: MEET,
        load: async () => (await import('./members.ts')).members,
      },
      {
        usage: 'rotate',
        summary: 'give the swarm a new key, and hand it to its members',
        description:
          'All members that can be reached get it at once, over connections on which they prove who they are;\n' +
          'the others when they come back. Nobody has to do anything, and pulls go on. Exit code 3 while some\n' +
          'have not got it. The key in a --swarm-key-file is not replaced: put the new one there yourself, it is in\n' +
          'keys/successor.key of the data directory.',
        group: MEET,
        flags: [
          {
            flags: '--overlap <duration>',
            help: 'how long the old key, and invites with it, are good for; at most 30d',
            defaultValue: '24h',
          },
        ],
        examples: ['ddocker swarm rotate', 'ddocker swarm rotate --overlap 7d'],
        nodeOptions: 'swarm',
        load: async () => (await import('./swarm-keys.ts')).swarmRotate,
      },
      {
        usage: 'revoke <node...>',
        summary: 'shut members out: all others get a new key, the old one ends now',
        description:
          'Names a member as `ddocker swarm members` does, or by the beginning of its id. Its connections are\n' +
          'closed, its names forgotten, open invites void. It keeps what it has seen. Members that are off get\n' +
          'the new key when they come back and prove who they are. Exit code 3 while some have not got it.',
        group: MEET,
        examples: ['ddocker swarm revoke lost-laptop', 'ddocker swarm revoke 3fa9c81b'],
        nodeOptions: 'swarm',
        load: async () => (await import('./swarm-keys.ts')).swarmRevoke,
      },
      {
        usage: 'join <invite>',
        summary: 'join the swarm that the invite is from',
        group: MEET,
        nodeOptions: 'swarm',
        load: async () => (await import('./swarm-join.ts')).swarmJoin,
      },
    ],
  },
]

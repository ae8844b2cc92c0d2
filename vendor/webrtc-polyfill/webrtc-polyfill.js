// webtorrent imports these names for WebRTC, which ddocker does not use; the real package downloads a native binary.
export const RTCPeerConnection = undefined
export const RTCSessionDescription = undefined
export const RTCIceCandidate = undefined
export default {}

"""The columns of the kernels' tables (uint64, column by row), and what of sFlow's numbers has a meaning here."""

from __future__ import annotations

VERSION = 105  # in `netflow.exporter.version`: 100 and sFlow's own 5, which must not be taken for NetFlow's

# Of a datagram's header, by datagram.
H_STATUS, H_FAMILY, H_HIGH, H_LOW, H_DOMAIN, H_SEQUENCE, H_UPTIME, H_AT, H_SAMPLES, H_WIDTH = range(10)
OK, MALFORMED = 0, 1
# What a datagram holds, by datagram: rows of both kinds; what was broken; what is of no format that is read; octets
# behind the last sample.
N_FLOWS, N_COUNTERS, N_BAD, N_SKIPPED, N_BEHIND, N_WIDTH = range(6)

# Sample formats (enterprise 0); OTHER: any further one, BROKEN: too short for its own header.
FLOW, COUNTERS, EXPANDED_FLOW, EXPANDED_COUNTERS, OTHER, BROKEN = 1, 2, 3, 4, 5, 6

# Of a flow sample. HAS: bit n is set where column n was stated; an address is there where its family is not 0.
(
    HAS, DATAGRAM, ORDINAL, SEQUENCE, SOURCE_TYPE, SOURCE_INDEX, RATE, POOL, DROPS, INPUT_KIND, INPUT, OUTPUT_KIND,
    OUTPUT, OCTETS, MAC_LENGTH, IP_LENGTH, HEADER_PROTOCOL, S_MAC, D_MAC, ETHERTYPE, FAMILY, S_HI, S_LO, D_HI, D_LO,
    PROTOCOL, S_PORT, D_PORT, TCP_FLAGS, ICMP_TYPE, ICMP_CODE, TOS, TTL, FLOW_LABEL, VLAN, INNER_VLAN, MPLS_LABEL,
    VLAN_IN, VLAN_OUT, PRIORITY_IN, PRIORITY_OUT, NEXT_FAMILY, NEXT_HI, NEXT_LO, S_MASK, D_MASK, BGP_FAMILY, BGP_HI,
    BGP_LO, S_AS, S_PEER_AS, D_AS, D_PEER_AS, NAT_S_FAMILY, NAT_S_HI, NAT_S_LO, NAT_D_FAMILY, NAT_D_HI, NAT_D_LO,
    NAT_S_PORT, NAT_D_PORT, VNI_IN, VNI_OUT, FLOW_WIDTH,
) = range(64)  # fmt: skip

# Of a counter sample; the names of C_GENERIC and C_ETHERNET in the order of the wire, from column 5 on.
C_HAS, C_DATAGRAM, C_ORDINAL, C_SEQUENCE, C_SOURCE_TYPE, C_SOURCE_INDEX, C_GENERIC = range(7)
GENERIC_WIDTHS = (4, 4, 8, 4, 4, 8, 4, 4, 4, 4, 4, 4, 8, 4, 4, 4, 4, 4, 4)  # format 1: octets of each number
C_STATUS, C_PROMISCUOUS = C_GENERIC + 4, C_GENERIC + 18
C_ETHERNET = C_GENERIC + len(GENERIC_WIDTHS)
ETHERNET_COUNTERS = 13  # format 2: all of four octets
COUNTER_WIDTH = C_ETHERNET + ETHERNET_COUNTERS

# What INPUT and OUTPUT are: an interface's index, a reason, a number of interfaces, nothing, of a format not known.
INTERFACE, DISCARDED, MULTIPLE, LOCAL, UNCLEAR = range(5)

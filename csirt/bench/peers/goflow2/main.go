// The decoder of goflow2, timed as a library: `goflow2-bench decode|json|live ...`, one JSON object on standard output.
//
//	decode FILE LIMIT   datagrams to Go structs
//	json FILE LIMIT     the same, and on to goflow2's protobuf messages and its JSON text
//	live PORT IDLE      datagrams from UDP to Go structs until none has come for IDLE seconds
//
// FILE holds datagrams: length (4 octets, little-endian), exporter (16, IPv4 mapped), port (2, little-endian), payload.
// It is in memory before the clock starts; LIMIT datagrams of it are used, all for 0. What the records sum up to is
// counted after the clock has stopped.
package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/netsampler/goflow2/v2/decoders/netflow"
	"github.com/netsampler/goflow2/v2/decoders/netflowlegacy"
	"github.com/netsampler/goflow2/v2/format"
	_ "github.com/netsampler/goflow2/v2/format/json"
	"github.com/netsampler/goflow2/v2/producer"
	protoproducer "github.com/netsampler/goflow2/v2/producer/proto"
	"github.com/netsampler/goflow2/v2/utils/templates"
)

const headOctets = 22

// The information elements that count a record's octets and packets, the best first: of those a record has, one counts.
var (
	octetsFields  = []uint16{1, 85, 231, 352, 23}
	packetsFields = []uint16{2, 86, 298, 24}
)

type datagram struct {
	from    netip.AddrPort
	payload []byte
}

// Answer is what is printed.
type Answer struct {
	Seconds   float64 `json:"seconds"`
	CPU       float64 `json:"cpu_s"`
	Datagrams int     `json:"datagrams"`
	Refused   int     `json:"refused"`
	Records   int     `json:"records"`
	Octets    uint64  `json:"octets"`
	Packets   uint64  `json:"packets"`
	Text      int     `json:"text_octets"`
}

func load(path string, limit int) ([]datagram, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var found []datagram
	for at := 0; at+headOctets <= len(raw) && (limit == 0 || len(found) < limit); {
		size := int(binary.LittleEndian.Uint32(raw[at:]))
		address := netip.AddrFrom16([16]byte(raw[at+4 : at+20])).Unmap()
		from := netip.AddrPortFrom(address, binary.LittleEndian.Uint16(raw[at+20:]))
		at += headOctets
		found = append(found, datagram{from, raw[at : at+size]})
		at += size
	}
	return found, nil
}

// decoder keeps the templates of every exporter, as goflow2 does.
type decoder struct {
	templates map[netip.AddrPort]netflow.NetFlowTemplateSystem
	refused   int
}

func newDecoder() *decoder {
	return &decoder{templates: map[netip.AddrPort]netflow.NetFlowTemplateSystem{}}
}

func (d *decoder) message(one datagram) interface{} {
	known, ok := d.templates[one.from]
	if !ok {
		known = templates.DefaultTemplateGenerator(one.from.String())
		d.templates[one.from] = known
	}
	if len(one.payload) < 2 {
		d.refused++
		return nil
	}
	body := bytes.NewBuffer(one.payload[2:])
	var err error
	switch version := binary.BigEndian.Uint16(one.payload); version {
	case 5:
		found := netflowlegacy.PacketNetFlowV5{Version: version}
		if err = netflowlegacy.DecodeMessage(body, &found); err == nil {
			return &found
		}
	case 9:
		found := netflow.NFv9Packet{Version: version}
		if err = netflow.DecodeMessageNetFlow(body, known, &found); err == nil {
			return &found
		}
	case 10:
		found := netflow.IPFIXPacket{Version: version}
		if err = netflow.DecodeMessageIPFIX(body, known, &found); err == nil {
			return &found
		}
	}
	d.refused++
	return nil
}

func flowSets(message interface{}) []interface{} {
	switch found := message.(type) {
	case *netflow.NFv9Packet:
		return found.FlowSets
	case *netflow.IPFIXPacket:
		return found.FlowSets
	}
	return nil
}

// records is all that is counted while the clock runs.
func records(message interface{}) int {
	if five, ok := message.(*netflowlegacy.PacketNetFlowV5); ok {
		return len(five.Records)
	}
	count := 0
	for _, set := range flowSets(message) {
		if data, ok := set.(netflow.DataFlowSet); ok {
			count += len(data.Records)
		}
	}
	return count
}

func number(field netflow.DataField) uint64 {
	raw, _ := field.Value.([]byte)
	var value uint64
	for _, octet := range raw {
		value = value<<8 | uint64(octet)
	}
	return value
}

func (a *Answer) sum(message interface{}) {
	if five, ok := message.(*netflowlegacy.PacketNetFlowV5); ok {
		for _, record := range five.Records {
			a.Octets += uint64(record.DOctets)
			a.Packets += uint64(record.DPkts)
		}
	}
	for _, set := range flowSets(message) {
		data, ok := set.(netflow.DataFlowSet)
		if !ok {
			continue
		}
		for _, record := range data.Records {
			a.Octets += first(record, octetsFields)
			a.Packets += first(record, packetsFields)
		}
	}
}

func first(record netflow.DataRecord, wanted []uint16) uint64 {
	for _, element := range wanted {
		for _, field := range record.Values {
			if field.Type == element && !field.PenProvided {
				return number(field)
			}
		}
	}
	return 0
}

func cpu() float64 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func decode(all []datagram, answer *Answer) {
	work := newDecoder()
	begin, spent := time.Now(), cpu()
	for _, one := range all {
		answer.Records += records(work.message(one))
	}
	answer.Seconds, answer.CPU, answer.Refused = time.Since(begin).Seconds(), cpu()-spent, work.refused
}

func toJSON(all []datagram, answer *Answer) error {
	config, err := (&protoproducer.ProducerConfig{}).Compile()
	if err != nil {
		return err
	}
	producing, err := protoproducer.CreateProtoProducer(config, protoproducer.CreateSamplingSystem)
	if err != nil {
		return err
	}
	text, err := format.FindFormat("json")
	if err != nil {
		return err
	}
	work := newDecoder()
	begin, spent := time.Now(), cpu()
	for _, one := range all {
		message := work.message(one)
		if message == nil {
			continue
		}
		arguments := &producer.ProduceArgs{Src: one.from, TimeReceived: begin, SamplerAddress: one.from.Addr()}
		flows, err := producing.Produce(message, arguments)
		if err != nil {
			return err
		}
		answer.Records += len(flows)
		for _, flow := range flows {
			_, line, err := text.Format(flow)
			if err != nil {
				return err
			}
			answer.Text += len(line)
		}
		producing.Commit(flows)
	}
	answer.Seconds, answer.CPU, answer.Refused = time.Since(begin).Seconds(), cpu()-spent, work.refused
	return nil
}

func live(port, idle int, answer *Answer) error {
	opened, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return err
	}
	defer opened.Close()
	_ = opened.SetReadBuffer(32 << 20)
	fmt.Fprintln(os.Stderr, "ready")
	work, buffer := newDecoder(), make([]byte, 65536)
	var begin, last time.Time
	wait := 60 * time.Second
	for {
		_ = opened.SetReadDeadline(time.Now().Add(wait))
		size, from, err := opened.ReadFromUDPAddrPort(buffer)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			return err
		}
		wait, last = time.Duration(idle)*time.Second, time.Now()
		if answer.Datagrams == 0 {
			begin = last
		}
		answer.Datagrams++
		message := work.message(datagram{from, bytes.Clone(buffer[:size])})
		answer.Records += records(message)
	}
	answer.Seconds, answer.CPU, answer.Refused = last.Sub(begin).Seconds(), cpu(), work.refused
	return nil
}

func run() error {
	if len(os.Args) != 4 {
		return errors.New("usage: goflow2-bench decode|json FILE LIMIT | live PORT IDLE")
	}
	limit, err := strconv.Atoi(os.Args[3])
	if err != nil {
		return err
	}
	answer := Answer{}
	if os.Args[1] == "live" {
		port, err := strconv.Atoi(os.Args[2])
		if err != nil {
			return err
		}
		if err := live(port, limit, &answer); err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(answer)
	}
	all, err := load(os.Args[2], limit)
	if err != nil {
		return err
	}
	answer.Datagrams = len(all)
	if os.Args[1] == "json" {
		err = toJSON(all, &answer)
	} else {
		decode(all, &answer)
	}
	if err != nil {
		return err
	}
	again := newDecoder()
	for _, one := range all {
		answer.sum(again.message(one))
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

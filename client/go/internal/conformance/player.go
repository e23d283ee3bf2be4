package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"clipstyler.dev/client/go/clipstyler"
	pb "clipstyler.dev/client/go/clipstylerv1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	eventually = 30 * time.Second
	pause      = 50 * time.Millisecond
)

var variable = regexp.MustCompile(`\$\{(\w+)\}`)

type conformanceCase struct {
	Name   string
	Server string
	Steps  []any
}

type step struct {
	Control       string
	Call          string
	Spec          json.RawMessage
	Photo         string
	Upload        string
	RequestID     string `json:"request_id"`
	Priority      string
	TimeoutS      float64 `json:"timeout_s"`
	Job           string
	AfterSequence int64 `json:"after_sequence"`
	State         string
	Kind          string
	Texts         []string
	Style         string
	SecondStyle   string `json:"second_style"`
	File          string
	Photos        []string
	Controls      json.RawMessage
	ResultFormat  string `json:"result_format"`
	StopAfter     int    `json:"stop_after"`
	At            struct {
		Event   string
		Stop    bool
		Control string
	}
	Parallel   int
	Eventually bool
	Expect     outcome
	Save       map[string]string
}

// player plays one case with one client.
type player struct {
	control   control
	client    *clipstyler.Client
	variables map[string]any
}

func newPlayer(control control, client *clipstyler.Client) *player {
	random := rand.Text()
	digits := fmt.Sprintf("%x", random)[:32]
	uuid := fmt.Sprintf("%s-%s-4%s-8%s-%s", digits[:8], digits[8:12], digits[13:16], digits[17:20], digits[20:])
	return &player{control, client, map[string]any{"uuid": uuid}}
}

// play plays the steps; the error describes the first that fails.
func (p *player) play(ctx context.Context, steps []any) error {
	for index, written := range steps {
		var step step
		filled, err := json.Marshal(p.filled(written))
		if err == nil {
			err = json.Unmarshal(filled, &step)
		}
		if err == nil && step.Control != "" {
			err = p.control.post(step.Control)
		}
		if err == nil && step.Call != "" {
			err = p.matching(ctx, step)
		}
		if err != nil {
			return fmt.Errorf("step %d, %s: %w", index+1, step.Call, err)
		}
	}
	return nil
}

// matching makes the call of a step, until its outcome is as expected if the step allows that.
func (p *player) matching(ctx context.Context, step step) error {
	until := time.Now()
	if step.Eventually {
		until = until.Add(eventually)
	}
	for {
		outcomes := p.parallel(ctx, step)
		var wrong []string
		for _, actual := range outcomes {
			wrong = append(wrong, mismatches(step.Expect, actual)...)
		}
		if len(wrong) == 0 {
			for name, key := range step.Save {
				p.variables[name] = outcomes[0][key]
			}
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("%s", strings.Join(wrong, "; "))
		}
		time.Sleep(pause)
	}
}

func (p *player) parallel(ctx context.Context, step step) []outcome {
	outcomes := make([]outcome, max(step.Parallel, 1))
	var group sync.WaitGroup
	for index := range outcomes {
		group.Go(func() { outcomes[index] = p.outcome(ctx, step) })
	}
	group.Wait()
	return outcomes
}

func (p *player) outcome(ctx context.Context, step step) outcome {
	actual := outcome{"code": "OK"}
	if err := p.call(ctx, step, actual); err != nil {
		addError(actual, err)
	}
	return actual
}

func (p *player) call(ctx context.Context, step step, into outcome) error {
	jobs := p.client.Jobs
	switch step.Call {
	case "stylize":
		return p.stylize(ctx, step, into)
	case "watch":
		return p.read(jobs.Watch(ctx, step.Job, step.AfterSequence), step, into)
	case "create":
		return p.create(ctx, step, into)
	case "get":
		job, err := jobs.Get(ctx, step.Job)
		addJob(into, job)
		return err
	case "cancel":
		job, err := jobs.Cancel(ctx, step.Job)
		addJob(into, job)
		return err
	case "delete":
		return jobs.Delete(ctx, step.Job)
	case "list":
		return p.list(ctx, step, into)
	case "image":
		return p.image(ctx, step, into)
	case "upload":
		uploaded, err := p.upload(ctx, step)
		into["upload"] = uploaded.GetUpload()
		return err
	case "info":
		return p.info(ctx, into)
	case "encode_text":
		_, err := p.client.Encoders.EncodeText(ctx, &pb.EncodeTextRequest{Texts: step.Texts})
		return err
	default:
		return p.styleCall(ctx, step, into)
	}
}

func (p *player) stylize(ctx context.Context, step step, into outcome) error {
	spec, err := p.spec(step)
	if err != nil {
		return err
	}
	if step.TimeoutS > 0 {
		timed, cancel := context.WithTimeout(ctx, seconds(step.TimeoutS))
		defer cancel()
		ctx = timed
	}
	request := &pb.StylizeRequest{Spec: spec, Priority: priority(step)}
	return p.read(p.client.Stylize(ctx, request), step, into)
}

func (p *player) create(ctx context.Context, step step, into outcome) error {
	spec, err := p.spec(step)
	if err != nil {
		return err
	}
	request := &pb.CreateStylizationRequest{Spec: spec, RequestId: step.RequestID, Priority: priority(step)}
	if step.TimeoutS > 0 {
		request.Timeout = durationpb.New(seconds(step.TimeoutS))
	}
	job, err := p.client.Jobs.Create(ctx, request)
	addJob(into, job)
	return err
}

func (p *player) read(stream *clipstyler.Stream, step step, into outcome) error {
	var events []*pb.StylizationEvent
	defer func() { addEvents(into, events) }()
	isWaiting := true
	for event, err := range stream.Events() {
		if err != nil {
			return err
		}
		events = append(events, event)
		if !isWaiting || kind(event) != step.At.Event {
			continue
		}
		if step.At.Stop {
			return nil
		}
		isWaiting = false
		if err := p.control.post(step.At.Control); err != nil {
			return err
		}
	}
	return nil
}

func (p *player) list(ctx context.Context, step step, into outcome) error {
	names := []string{}
	request := &pb.ListStylizationsRequest{State: pb.Stylization_State(pb.Stylization_State_value[step.State])}
	for job, err := range p.client.Jobs.List(ctx, request) {
		if err != nil {
			return err
		}
		names = append(names, job.GetName())
	}
	into["jobs"] = names
	return nil
}

func (p *player) image(ctx context.Context, step step, into outcome) error {
	kind := pb.Stylization_ImageKind(pb.Stylization_ImageKind_value[step.Kind])
	image, err := p.client.Jobs.Download(ctx, step.Job, kind)
	if err == nil {
		addImage(into, image.Data, image.Metadata)
	}
	return err
}

func (p *player) upload(ctx context.Context, step step) (*pb.UploadImageResponse, error) {
	photo, err := p.control.get("photos/" + step.Photo)
	if err != nil {
		return nil, err
	}
	return p.client.Jobs.Upload(ctx, photo)
}

func (p *player) info(ctx context.Context, into outcome) error {
	info, err := p.client.ServerInfo(ctx)
	names, ready := []string{}, false
	for _, set := range info.GetEncoderSets() {
		names = append(names, set.GetName())
	}
	for _, worker := range info.GetWorkers() {
		state := worker.GetState()
		ready = ready || state == pb.ServerInfo_Worker_STATE_IDLE || state == pb.ServerInfo_Worker_STATE_BUSY
	}
	into["version"], into["encoder_sets"], into["ready"] = info.GetVersion(), names, ready
	into["max_image_bytes"], into["running"] = info.GetLimits().GetMaxImageBytes(), info.GetQueue().GetRunningCount()
	return err
}

func (p *player) spec(step step) (*pb.StylizationSpec, error) {
	spec := &pb.StylizationSpec{}
	if err := protojson.Unmarshal(step.Spec, spec); err != nil {
		return nil, err
	}
	if step.Upload != "" {
		spec.Photo = &pb.StylizationSpec_Upload{Upload: step.Upload}
		return spec, nil
	}
	photo, err := p.control.get("photos/" + step.Photo)
	spec.Photo = &pb.StylizationSpec_Image{Image: photo}
	return spec, err
}

// filled puts the values of variables into all strings.
func (p *player) filled(value any) any {
	switch value := value.(type) {
	case []any:
		copied := make([]any, len(value))
		for index, inner := range value {
			copied[index] = p.filled(inner)
		}
		return copied
	case outcome:
		copied := outcome{}
		for key, inner := range value {
			copied[key] = p.filled(inner)
		}
		return copied
	case string:
		if whole := variable.FindStringSubmatch(value); whole != nil && whole[0] == value {
			return p.variables[whole[1]]
		}
		return variable.ReplaceAllStringFunc(value, func(found string) string {
			return fmt.Sprint(p.variables[found[2:len(found)-1]])
		})
	default:
		return value
	}
}

func priority(step step) pb.Stylization_Priority {
	return pb.Stylization_Priority(pb.Stylization_Priority_value[step.Priority])
}

func seconds(count float64) time.Duration { return time.Duration(count * float64(time.Second)) }

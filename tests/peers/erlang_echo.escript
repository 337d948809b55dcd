#!/usr/bin/env escript
%% Servers in Erlang that send each message back: its runtime finds the boundaries.
%%
%% Prints a JSON object, from the name of each server to its port, and runs until the standard
%% input ends.

-mode(compile).

main(_) ->
    Ports = [io_lib:format("\"packet_~p\": ~p", [Packet, listen(Packet)])
             || Packet <- [1, 2, 4, line]],
    io:format("{~s}~n", [lists:join(", ", Ports)]),
    eof = io:get_line(""),
    halt(0).

listen(Packet) ->
    {ok, Listener} = gen_tcp:listen(0, [
        binary, {packet, Packet}, {active, false}, {ip, {127, 0, 0, 1}}, {nodelay, true},
        {buffer, 2 * 1024 * 1024}  % the longest line
    ]),
    spawn_link(fun() -> accept(Listener) end),
    {ok, Port} = inet:port(Listener),
    Port.

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Server = spawn(fun() -> receive go -> echo(Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Server),
    Server ! go,
    accept(Listener).

echo(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Message} -> gen_tcp:send(Socket, Message), echo(Socket);
        {error, _} -> gen_tcp:close(Socket)
    end.
